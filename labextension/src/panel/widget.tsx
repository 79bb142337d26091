/** The side panel: a tab for the notebook in front, and one for all environments. */

import { ReactWidget } from '@jupyterlab/ui-components';
import React, { useState } from 'react';

import type { Environments } from '../environments.js';
import { packageIcon } from '../icons.js';
import { AllTab, type IOpenDocument } from './all.js';
import { NotebookTab } from './notebook.js';

const TABS = ['This notebook', 'All environments'] as const;

/** The widget of the side panel. */
export class EnvironmentPanel extends ReactWidget {
  /** @param open - opens a document of the server */
  constructor(environments: Environments, open: IOpenDocument) {
    super();
    this._environments = environments;
    this._open = open;
    this.id = 'scriptenv-panel';
    this.title.icon = packageIcon;
    this.title.caption = 'Environment';
    this.addClass('jp-scriptenv-panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Environment');
  }

  protected render(): React.JSX.Element {
    return <Tabs environments={this._environments} open={this._open} />;
  }

  private readonly _environments: Environments;
  private readonly _open: IOpenDocument;
}

function Tabs(props: {
  readonly environments: Environments;
  readonly open: IOpenDocument;
}): React.JSX.Element {
  const [chosen, setChosen] = useState(0);
  const onKeyDown = (event: React.KeyboardEvent<HTMLElement>): void => {
    if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
      const next = (chosen + 1) % TABS.length;
      setChosen(next);
      (event.currentTarget.children[next] as HTMLElement).focus();
    }
  };
  return (
    <>
      <div
        role="tablist"
        aria-label="Environment"
        className="jp-scriptenv-tabs"
        onKeyDown={onKeyDown}
      >
        {TABS.map((label, index) => (
          <button
            key={label}
            type="button"
            role="tab"
            id={`jp-scriptenv-tab-${index}`}
            aria-selected={chosen === index}
            aria-controls="jp-scriptenv-tabpanel"
            tabIndex={chosen === index ? 0 : -1}
            onClick={() => setChosen(index)}
          >
            {label}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id="jp-scriptenv-tabpanel"
        aria-labelledby={`jp-scriptenv-tab-${chosen}`}
        className="jp-scriptenv-content"
      >
        {chosen === 0 ? (
          <NotebookTab environments={props.environments} />
        ) : (
          <AllTab open={props.open} onChange={() => props.environments.current?.refreshSoon()} />
        )}
      </div>
    </>
  );
}
