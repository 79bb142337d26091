/** The banner above a notebook whose kernel must be restarted. */

import { Button, ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import type { NotebookEnvironment } from './environment.js';

/** Make the banner of one notebook; it is empty as long as no restart is needed. */
export function restartBanner(environment: NotebookEnvironment): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={environment.changed}>{() => <Banner environment={environment} />}</UseSignal>
  );
  widget.addClass('jp-scriptenv-banner-place');
  const update = (): void => {
    widget.setHidden(!environment.shown.needsRestart);
  };
  environment.changed.connect(update);
  update();
  return widget;
}

function Banner({ environment }: { environment: NotebookEnvironment }): React.JSX.Element | null {
  const { needsRestart, text } = environment.shown;
  if (!needsRestart) {
    return null;
  }
  return (
    <div className="jp-scriptenv-banner" role="alert">
      <strong>Restart needed</strong>
      <span className="jp-scriptenv-banner-text" title={text}>
        {text}
      </span>
      <Button
        className="jp-mod-styled jp-mod-warn jp-scriptenv-action"
        title="Restart the kernel; its variables are lost"
        onClick={() => void environment.session.restartKernel().catch(() => undefined)}
      >
        Restart kernel
      </Button>
    </div>
  );
}
