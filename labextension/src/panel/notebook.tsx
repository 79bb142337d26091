/** The panel's first tab: the environment of the notebook in front. */

import React from 'react';

import type { NotebookEnvironment } from '../environment.js';
import type { Environments } from '../environments.js';
import { Declared } from './declared.js';
import { useSignal } from './hooks.js';
import { Drift, Installed } from './installed.js';
import { Actions, Failure, Log, Progress } from './operations.js';
import { Summary } from './summary.js';

/** Draw the tab. */
export function NotebookTab({
  environments
}: {
  readonly environments: Environments;
}): React.JSX.Element {
  useSignal(environments.currentChanged);
  const { current } = environments;
  if (current === null) {
    return <p className="jp-scriptenv-hint">Open a notebook to see its environment.</p>;
  }
  return <OneNotebook key={current.id} environment={current} />;
}

function OneNotebook({
  environment
}: {
  readonly environment: NotebookEnvironment;
}): React.JSX.Element {
  useSignal(environment.changed);
  const { info, refusal, operation } = environment;
  const isBusy = operation?.isRunning === true || environment.shown.tone === 'working';
  const parts = { environment, isBusy: isBusy || environment.document.isReadOnly };
  return (
    <>
      <h2 className="jp-scriptenv-title" title={environment.document.path}>
        {environment.document.path.split('/').pop()}
      </h2>
      <Summary {...parts} />
      {environment.document.isReadOnly && (
        <p className="jp-scriptenv-hint">
          This notebook is read-only: nothing can be changed here.
        </p>
      )}
      <Progress environment={environment} />
      {refusal !== null && (
        <Failure
          environment={environment}
          message={refusal.message}
          problems={refusal.problems.map(each => each.message)}
          hint={refusal.hint}
        />
      )}
      {environment.isServerAbsent && (
        <p className="jp-scriptenv-hint">
          Jupyter’s server runs without the scriptenv extension: only what the kernel tells is
          shown.
        </p>
      )}
      {info !== null && (
        <>
          <Actions {...parts} />
          <Declared {...parts} />
          <Drift {...parts} />
          <Installed packages={info.packages} />
        </>
      )}
      <Log operation={operation} />
    </>
  );
}
