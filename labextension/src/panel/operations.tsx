/** What can be done with the environment, how far it has come, and what came of it. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import React from 'react';

import type { NotebookEnvironment } from '../environment.js';
import type { Operation } from '../operation.js';
import { unwrapped } from '../progress.js';
import type { IPartProps } from './declared.js';
import { useSignal } from './hooks.js';
import { Section } from './section.js';

/** Draw the buttons. */
export function Actions({ environment, isBusy }: IPartProps): React.JSX.Element {
  const actions: readonly [string, string, () => Promise<void>][] = [
    ['Sync', 'Install exactly what is declared', () => environment.sync()],
    [
      'Lock',
      'Pin what the declared packages resolve to',
      () => environment.lock(isEmbedded(environment))
    ],
    ['Upgrade', 'Let all packages be newer', () => environment.upgrade()],
    ['Rebuild', 'Build the environment anew', () => rebuild(environment)]
  ];
  return (
    <div className="jp-scriptenv-actions" role="group" aria-label="Environment">
      {actions.map(([label, title, act]) => (
        <button
          key={label}
          type="button"
          className="jp-mod-styled jp-scriptenv-action"
          title={title}
          disabled={isBusy}
          onClick={() => void act().catch(() => undefined)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}

/** Build the environment anew; where that ends a kernel, the user is asked first. */
export async function rebuild(environment: NotebookEnvironment): Promise<void> {
  if (environment.isRunning) {
    const { button } = await showDialog({
      title: 'Rebuild the environment?',
      body: 'The kernel is shut down for it, and started anew. Its variables are lost.',
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Rebuild' })]
    });
    if (!button.accept) {
      return;
    }
  }
  await environment.rebuild();
}

/** Draw what goes on, with a button to end it, or how the last operation failed. */
export function Progress({
  environment
}: {
  readonly environment: NotebookEnvironment;
}): React.JSX.Element | null {
  const { operation } = environment;
  if (operation?.isRunning) {
    return (
      <Running
        operation={operation}
        onCancel={() => void environment.cancel().catch(() => undefined)}
      />
    );
  }
  const told = environment.kernelState;
  if (told?.state === 'working') {
    return <Bar text={told.text} done={told.done} of={told.of} />;
  }
  const failure = operation?.failure ?? null;
  if (failure !== null && !failure.isPending) {
    return (
      <Failure
        environment={environment}
        message={failure.message}
        problems={failure.problems.map(each => each.message)}
        hint={failure.hint}
      />
    );
  }
  if (told?.state === 'failed') {
    return <Failure environment={environment} message={told.text} />;
  }
  return null;
}

/** Draw the log of the last operation. */
export function Log({
  operation
}: {
  readonly operation: Operation | null;
}): React.JSX.Element | null {
  if (operation === null || operation.log.length === 0) {
    return null;
  }
  return (
    <Section title="Last operation" isFolded={!operation.isRunning}>
      <pre className="jp-scriptenv-log" tabIndex={0} aria-label={`Log of ${operation.verb}`}>
        {operation.log.join('\n')}
      </pre>
    </Section>
  );
}

/** Draw an operation that goes on, with a button to end it. */
export function Running(props: {
  readonly operation: Operation;
  readonly onCancel: () => void;
}): React.JSX.Element {
  useSignal(props.operation.changed);
  const { text, done, of } = props.operation.work;
  return (
    <div className="jp-scriptenv-running">
      <Bar text={text} done={done} of={of} />
      <button
        type="button"
        className="jp-mod-styled jp-scriptenv-small"
        disabled={props.operation.id === null}
        onClick={props.onCancel}
      >
        Cancel
      </button>
    </div>
  );
}

function Bar(props: {
  readonly text: string;
  readonly done: number | null;
  readonly of: number | null;
}): React.JSX.Element {
  return (
    <div className="jp-scriptenv-bar">
      <progress aria-label="Progress" value={props.done ?? undefined} max={props.of ?? undefined} />
      <span>{props.text}</span>
    </div>
  );
}

/** Draw what was refused or has failed, with a way to the block. */
export function Failure(props: {
  readonly environment: NotebookEnvironment;
  readonly message: string;
  readonly problems?: readonly string[];
  readonly hint?: string;
}): React.JSX.Element {
  return (
    <div className="jp-scriptenv-failure" role="alert">
      <p className="jp-scriptenv-words">{props.message}</p>
      {props.problems?.map(each => (
        <p key={each} className="jp-scriptenv-words">
          {unwrapped(each)}
        </p>
      ))}
      {props.hint && <p>{props.hint}</p>}
      {props.environment.document.blockCell !== null && (
        <button
          type="button"
          className="jp-mod-styled jp-scriptenv-small"
          onClick={() => void props.environment.document.reveal()}
        >
          Go to the block
        </button>
      )}
    </div>
  );
}

/** A lock is made where the last one is; the first one goes into the notebook. */
function isEmbedded(environment: NotebookEnvironment): boolean {
  const lock = environment.info?.lock;
  return lock === undefined || lock.state === 'none' || lock.embedded;
}
