/** A part of the panel under a heading, which can be folded. */

import React from 'react';

/** Draw a section; it is open at first unless said otherwise. */
export function Section(props: {
  readonly title: string;
  readonly count?: number;
  readonly isFolded?: boolean;
  readonly children: React.ReactNode;
}): React.JSX.Element {
  return (
    <details className="jp-scriptenv-section" open={!props.isFolded}>
      <summary>
        <h3>{props.title}</h3>
        {props.count !== undefined && <span className="jp-scriptenv-faint">{props.count}</span>}
      </summary>
      <div className="jp-scriptenv-body">{props.children}</div>
    </details>
  );
}
