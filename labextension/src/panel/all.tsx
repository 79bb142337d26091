/** The panel's second tab: all environments on this machine, with their sizes. */

import { Dialog, InputDialog, showDialog } from '@jupyterlab/apputils';
import { closeIcon, editIcon, refreshIcon } from '@jupyterlab/ui-components';
import React, { useCallback, useEffect, useMemo, useRef, useState } from 'react';

import type { IListed, IListing } from '../answers.js';
import { Operation } from '../operation.js';
import { sizeText } from '../packages.js';
import { cancelTask, listEnvironments, Refused } from '../rest.js';
import { IconButton } from './declared.js';
import { Running } from './operations.js';

/** How many environments are drawn at once: a browser takes seconds for thousands. */
const PORTION = 200;

/** Opens a document, by its path on the server. */
export type IOpenDocument = (path: string) => void;

/** What `prune` answers. */
interface IPruned {
  readonly removed: readonly {
    readonly kind: string;
    readonly name: string;
    readonly source: string | null;
  }[];
  readonly bytes: number;
}

/** Draw the tab. */
export function AllTab(props: {
  readonly open: IOpenDocument;
  /** Called when an environment has been changed. */
  readonly onChange: () => void;
}): React.JSX.Element {
  const { open, onChange } = props;
  const [listing, setListing] = useState<IListing | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const [words, setWords] = useState('');
  const [most, setMost] = useState(PORTION);
  const [operation, setOperation] = useState<Operation | null>(null);
  const isBusy = operation !== null;

  const asked = useRef(0);
  const load = useCallback(async () => {
    const number = ++asked.current;
    try {
      // Sizes take a walk over every file; what is known at once is shown at once.
      for (const withSizes of [false, true]) {
        const found = await listEnvironments(withSizes);
        if (number !== asked.current) {
          return; // something has changed since: a later question is on its way
        }
        setListing(found);
      }
    } catch (error) {
      setFailure(sentenceOf(error));
    }
  }, []);
  useEffect(() => void load(), [load]);

  const run = async <T,>(body: Record<string, unknown> & { verb: string }): Promise<T | null> => {
    const begun = new Operation(body.verb);
    setOperation(begun);
    setFailure(null);
    try {
      return await begun.start<T>(body);
    } catch (error) {
      setFailure(sentenceOf(error));
      return null;
    } finally {
      setOperation(null);
      onChange();
    }
  };
  const refresh = (): void => {
    setFailure(null);
    void load();
  };
  const prune = async (): Promise<void> => {
    const found = await run<IPruned>({ verb: 'prune', dry_run: true });
    if (found !== null && (await confirmPrune(found))) {
      // No more than what was shown: something else may have become superfluous meanwhile.
      await run({ verb: 'prune', dry_run: false, names: found.removed.map(each => each.name) });
      await load();
    }
  };
  const remove = async (item: IListed): Promise<void> => {
    const { button } = await showDialog({
      title: 'Delete the environment?',
      body: `The environment of ${placeOf(item)} is deleted. Its source stays; the next start makes a new one.`,
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Delete' })]
    });
    if (button.accept) {
      await run({ verb: 'delete', environment: item.name });
      await load();
    }
  };
  const move = async (item: IListed): Promise<void> => {
    const { value } = await InputDialog.getText({
      title: 'Move the environment to another source',
      label: 'The file that it is for from now on, as the file browser shows it',
      text: item.contents_path ?? '',
      okLabel: 'Move'
    });
    if (value && value !== item.contents_path) {
      await run({ verb: 'move', source: item.source, new: value });
      await load();
    }
  };

  const found = (listing?.environments ?? []).filter(each =>
    placeOf(each).toLowerCase().includes(words.trim().toLowerCase())
  );
  const rest = found.length - most;
  const twins = useMemo(() => twice((listing?.environments ?? []).map(nameOf)), [listing]);
  return (
    <>
      <div className="jp-scriptenv-row">
        <input
          type="search"
          className="jp-mod-styled jp-scriptenv-input"
          aria-label="Filter the environments"
          placeholder="Filter"
          value={words}
          onChange={event => {
            setWords(event.target.value);
            setMost(PORTION);
          }}
        />
        <IconButton label="Refresh" icon={refreshIcon} onClick={refresh} />
      </div>
      <p className="jp-scriptenv-hint" role="status">
        {listing === null ? '' : totalText(listing)}
      </p>
      {failure !== null && (
        <p className="jp-scriptenv-failure" role="alert">
          {failure}
        </p>
      )}
      {operation !== null && (
        <Running operation={operation} onCancel={() => void cancelTask(operation.id ?? '')} />
      )}
      <button
        type="button"
        className="jp-mod-styled jp-scriptenv-action"
        title="Remove the environments whose source is gone"
        disabled={isBusy || listing === null}
        onClick={() => void prune()}
      >
        Prune …
      </button>
      <ul className="jp-scriptenv-list jp-scriptenv-environments" aria-label="Environments">
        {found.slice(0, most).map(each => (
          <Item
            key={each.name}
            item={each}
            isTwin={twins.has(nameOf(each))}
            isBusy={isBusy}
            onOpen={open}
            onDelete={() => void remove(each)}
            onMove={() => void move(each)}
          />
        ))}
      </ul>
      {rest > 0 && (
        <button
          type="button"
          className="jp-mod-styled jp-scriptenv-action"
          onClick={() => setMost(most + PORTION)}
        >
          {`Show ${Math.min(PORTION, rest)} of ${rest} more`}
        </button>
      )}
    </>
  );
}

function Item(props: {
  readonly item: IListed;
  /** Whether another one's source has the same name: then the folder is told too. */
  readonly isTwin: boolean;
  readonly isBusy: boolean;
  readonly onOpen: IOpenDocument;
  readonly onDelete: () => void;
  readonly onMove: () => void;
}): React.JSX.Element {
  const { item } = props;
  const name = nameOf(item);
  const place = placeOf(item);
  const spoken = props.isTwin ? place : name;
  const facts = [
    props.isTwin ? place.slice(0, -name.length) : '',
    item.python_version === null ? '' : `Python ${item.python_version}`,
    item.bytes === null ? '' : sizeText(item.bytes),
    item.last_used === null ? '' : `used ${new Date(item.last_used).toLocaleDateString()}`,
    item.in_use ? 'in use' : ''
  ];
  const path = item.state === 'orphan' ? null : item.contents_path;
  return (
    <li>
      <div className="jp-scriptenv-row">
        {path === null ? (
          <span className="jp-scriptenv-name" title={place}>
            {name}
          </span>
        ) : (
          <button
            type="button"
            className="jp-scriptenv-link jp-scriptenv-name"
            title={place}
            onClick={() => props.onOpen(path)}
          >
            {name}
          </button>
        )}
        <span className="jp-scriptenv-tag" data-tone={TONES[item.state] ?? 'waiting'}>
          <span className="jp-scriptenv-dot" aria-hidden="true" />
          {item.state.replace('-', ' ')}
        </span>
        <IconButton
          label={`Move the environment of ${spoken}`}
          icon={editIcon}
          isDisabled={props.isBusy || !isFile(item)}
          onClick={props.onMove}
        />
        <IconButton
          label={`Delete the environment of ${spoken}`}
          icon={closeIcon}
          isDisabled={props.isBusy}
          onClick={props.onDelete}
        />
      </div>
      <div className="jp-scriptenv-faint">{facts.filter(Boolean).join(' · ')}</div>
    </li>
  );
}

/** Give what an environment is for; its own name where that is not known. */
function placeOf({ source, name }: IListed): string {
  return source ?? name;
}

/** Give the last part of that, which a person knows it by. */
function nameOf(item: IListed): string {
  return /[^\\/]+[\\/]*$/.exec(placeOf(item))?.[0] ?? item.name;
}

/** Give what stands in a list more than once. */
function twice(names: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>();
  return new Set(names.filter(name => seen.has(name) || !seen.add(name)));
}

/** Tell whether an environment is for a file, and not for an address, a text or what is not known. */
function isFile({ source }: IListed): boolean {
  return source !== null && /^([\\/]|[A-Za-z]:[\\/])/.test(source);
}

const TONES: Record<string, string> = { 'in-sync': 'good', broken: 'bad', orphan: 'none' };

async function confirmPrune({ removed, bytes }: IPruned): Promise<boolean> {
  const lines = removed.map(each => each.source ?? `${each.kind} ${each.name}`);
  const { button } = await showDialog({
    title: removed.length === 0 ? 'Nothing to remove' : `Remove ${sizeText(bytes)}?`,
    body:
      removed.length === 0 ? (
        'Each environment has its source.'
      ) : (
        <ul className="jp-scriptenv-list">
          {lines.map((line, index) => (
            <li key={index}>{line}</li>
          ))}
        </ul>
      ),
    buttons:
      removed.length === 0
        ? [Dialog.okButton()]
        : [Dialog.cancelButton(), Dialog.warnButton({ label: 'Remove' })]
  });
  return button.accept && removed.length > 0;
}

function totalText({ totals }: IListing): string {
  const number = totals.number === 1 ? '1 environment' : `${totals.number} environments`;
  return totals.bytes === null ? number : `${number}, ${sizeText(totals.bytes)}`;
}

function sentenceOf(error: unknown): string {
  if (error instanceof Refused) {
    return error.isAbsent
      ? 'Jupyter’s server runs without the scriptenv extension.'
      : error.sentence;
  }
  return String(error);
}
