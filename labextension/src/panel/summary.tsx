/** How the environment stands: its state, its Python, its lock, its place and size. */

import { Clipboard } from '@jupyterlab/apputils';
import { copyIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useState } from 'react';

import type { IEnvironment, IPython } from '../answers.js';
import { sizeText } from '../packages.js';
import { pythons } from '../rest.js';
import { IconButton, type IPartProps } from './declared.js';

/** Draw the head of the panel. */
export function Summary({ environment, isBusy }: IPartProps): React.JSX.Element {
  const { shown, info } = environment;
  const place = info?.status.environment ?? null;
  const isToldBelow =
    shown.tone === 'working' ||
    shown.label === 'failed' ||
    environment.operation?.failure?.isPending === false;
  return (
    <div className="jp-scriptenv-summary">
      <p className="jp-scriptenv-state" data-tone={shown.tone} role="status">
        <span className="jp-scriptenv-dot" aria-hidden="true" />
        <strong>{shown.label}</strong>
      </p>
      {!isToldBelow && <p className="jp-scriptenv-hint">{shown.text}</p>}
      {shown.needsRestart && (
        <button
          type="button"
          className="jp-mod-styled jp-mod-warn jp-scriptenv-action"
          title="Restart the kernel; its variables are lost"
          onClick={() => void environment.session.restartKernel().catch(() => undefined)}
        >
          Restart kernel
        </button>
      )}
      {environment.canTakeKernel && (
        <button
          type="button"
          className="jp-mod-styled jp-mod-accept jp-scriptenv-action"
          title="Choose the kernel “Python (scriptenv)”"
          onClick={() => void environment.takeKernel().catch(() => undefined)}
        >
          Run in its own environment
        </button>
      )}
      {info !== null && (
        <dl className="jp-scriptenv-facts">
          <dt>Python</dt>
          <dd title={info.python.version ?? ''}>
            <PythonChooser environment={environment} isBusy={isBusy} />
          </dd>
          <dt>Lock</dt>
          <dd>
            {environment.document.hasUnsavedLock
              ? 'in the notebook, not saved yet'
              : lockText(info.lock)}
          </dd>
          {info.bytes !== null && (
            <>
              <dt>Size</dt>
              <dd>{sizeText(info.bytes)}</dd>
            </>
          )}
          {place !== null && (
            <>
              <dt>Path</dt>
              <dd className="jp-scriptenv-row">
                <span className="jp-scriptenv-path" title={place.path}>
                  <bdi dir="ltr">{place.path}</bdi>
                </span>
                <IconButton
                  label="Copy the path"
                  icon={copyIcon}
                  onClick={() => Clipboard.copyToSystem(place.path)}
                />
              </dd>
            </>
          )}
        </dl>
      )}
    </div>
  );
}

function PythonChooser({ environment, isBusy }: IPartProps): React.JSX.Element {
  const [found, setFound] = useState<readonly IPython[]>([]);
  useEffect(() => {
    knownPythons().then(setFound, () => undefined);
  }, []);
  const version = environment.info?.python.version ?? null;
  const current = version === null ? '' : minorOf(version);
  const choices = new Map(
    found.map(each => [minorOf(each.version), each.is_host ? ' (the server’s)' : ''])
  );
  if (current && !choices.has(current)) {
    choices.set(current, '');
  }
  return (
    <select
      className="jp-scriptenv-select"
      aria-label="Python"
      disabled={isBusy}
      value={current}
      onKeyDown={openWithKey}
      onChange={event =>
        void environment.edit('python', [event.target.value]).catch(() => undefined)
      }
    >
      {current === '' && <option value="">not chosen yet</option>}
      {[...choices].map(([minor, note]) => (
        <option key={minor} value={minor}>
          {minor}
          {note}
        </option>
      ))}
    </select>
  );
}

/** What a key would choose at once on some systems: an arrow, the first letters. */
const CHOOSING = /^(Arrow(Up|Down|Left|Right)|Home|End|Page(Up|Down)|.)$/;

/** Have keys open the list, as they do on a Mac: a choice changes the block, and is not to be a step. */
function openWithKey(event: React.KeyboardEvent<HTMLSelectElement>): void {
  const select = event.currentTarget;
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (isPlain && CHOOSING.test(event.key) && 'showPicker' in select) {
    try {
      select.showPicker();
      event.preventDefault();
    } catch {
      // Not in a frame of another site: there the key does what the system has it do.
    }
  }
}

let asked: Promise<readonly IPython[]> | null = null;

/** Ask once: to look at every Python of a machine takes a moment. */
function knownPythons(): Promise<readonly IPython[]> {
  asked ??= pythons().catch(error => {
    asked = null;
    throw error;
  });
  return asked;
}

function minorOf(version: string): string {
  return version.split('.').slice(0, 2).join('.');
}

function lockText({ state, embedded, path }: IEnvironment['lock']): string {
  if (state === 'none') {
    return 'none';
  }
  const where = embedded ? 'in the notebook' : (path?.split(/[\\/]/).pop() ?? 'beside it');
  return `${where}, ${state === 'current' ? 'up to date' : 'not for this block'}`;
}
