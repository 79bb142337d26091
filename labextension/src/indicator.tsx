/** How the environment stands, in a few words: in the notebook's toolbar and in the status bar. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import React from 'react';

import type { NotebookEnvironment } from './environment.js';
import type { Environments } from './environments.js';
import { packageIcon } from './icons.js';

/** Properties of `Indicator`. */
export interface IIndicatorProps {
  readonly environment: NotebookEnvironment;
  /** Called when it is pressed. */
  readonly onOpen: () => void;
}

/** A button with the Python version and the state, by colour and by text. */
export function Indicator({ environment, onOpen }: IIndicatorProps): React.JSX.Element {
  const { shown, info } = environment;
  const version = info?.status.environment?.python_version ?? null;
  const path = info?.status.environment?.path ?? null;
  const python = version === null ? '' : `Python ${minorOf(version)}`;
  const title = [shown.text, version === null ? '' : `Python ${version}`, path ?? '']
    .filter(Boolean)
    .join('\n');
  return (
    <button
      type="button"
      className="jp-scriptenv-indicator"
      data-tone={shown.tone}
      title={title}
      aria-label={`Environment: ${[shown.label, python].filter(Boolean).join(', ')}`}
      onClick={onOpen}
    >
      <packageIcon.react tag="span" className="jp-scriptenv-icon" />
      {version !== null && <span className="jp-scriptenv-version">{minorOf(version)}</span>}
      <span className="jp-scriptenv-dot" aria-hidden="true" />
      <span className="jp-scriptenv-label">{shown.label}</span>
    </button>
  );
}

/** Make the button in the toolbar of one notebook. */
export function toolbarIndicator(
  environment: NotebookEnvironment,
  onOpen: () => void
): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={environment.changed}>
      {() => <Indicator environment={environment} onOpen={onOpen} />}
    </UseSignal>
  );
  widget.addClass('jp-scriptenv-toolbar');
  return widget;
}

/** Make the item of the status bar, for the notebook in front. */
export function statusIndicator(environments: Environments, onOpen: () => void): ReactWidget {
  const widget = ReactWidget.create(
    <UseSignal signal={environments.currentChanged}>
      {() => <CurrentIndicator environments={environments} onOpen={onOpen} />}
    </UseSignal>
  );
  widget.addClass('jp-scriptenv-status');
  return widget;
}

function CurrentIndicator(props: {
  environments: Environments;
  onOpen: () => void;
}): React.JSX.Element | null {
  const environment = props.environments.current;
  if (environment === null) {
    return null;
  }
  return (
    <UseSignal key={environment.id} signal={environment.changed}>
      {() => <Indicator environment={environment} onOpen={props.onOpen} />}
    </UseSignal>
  );
}

/** Give `3.12` of `3.12.4`. */
function minorOf(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}
