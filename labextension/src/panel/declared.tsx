/** What the block declares: add, edit and remove. */

import { closeIcon, editIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useState } from 'react';

import type { NotebookEnvironment } from '../environment.js';
import { nameOf } from '../packages.js';
import { RequirementField } from './requirement.js';
import { Section } from './section.js';

/** Properties of a part of the panel that is about one notebook. */
export interface IPartProps {
  readonly environment: NotebookEnvironment;
  /** Whether nothing can be changed now. */
  readonly isBusy: boolean;
}

/** Draw the declared dependencies. */
export function Declared({ environment, isBusy }: IPartProps): React.JSX.Element {
  const [edited, setEdited] = useState<string | null>(null);
  const [left, setLeft] = useState<string | null>(null);
  // Once: a row that comes later is not to take the keyboard from where it is then.
  useEffect(() => setLeft(null), [left]);
  const declared = environment.info?.status.declared ?? null;
  const dependencies = declared?.dependencies ?? [];
  // An edit ends with its row, or it would take the keyboard where that comes back.
  const isGone = edited !== null && !dependencies.includes(edited);
  useEffect(() => {
    if (isGone) {
      setEdited(null);
    }
  }, [isGone]);

  const change = async (work: Promise<void>): Promise<boolean> => {
    // What fails is shown by the operation itself.
    return work.then(() => true).catch(() => false);
  };
  const replace = async (old: string, requirement: string): Promise<boolean> => {
    const isTaken =
      old === requirement || (await change(environment.edit('change', [old, requirement])));
    if (isTaken) {
      setEdited(null);
    }
    return isTaken;
  };

  return (
    <Section title="Declared" count={dependencies.length}>
      <RequirementField
        label="Add a package"
        action="Add"
        isDisabled={isBusy}
        onSubmit={requirement => change(environment.edit('add', [requirement]))}
      />
      {dependencies.length === 0 && (
        <p className="jp-scriptenv-hint">
          {declared === null ? 'The block cannot be read.' : 'This notebook declares no packages.'}
        </p>
      )}
      <ul className="jp-scriptenv-list" aria-label="Declared dependencies">
        {dependencies.map((requirement, index) =>
          edited === requirement ? (
            <li key={requirement}>
              <RequirementField
                label={`Edit ${nameOf(requirement)}`}
                action="Save"
                initial={requirement}
                isDisabled={isBusy}
                onSubmit={text => replace(requirement, text)}
                onCancel={() => {
                  setEdited(null);
                  setLeft(requirement);
                }}
              />
            </li>
          ) : (
            <li key={requirement} className="jp-scriptenv-row">
              <span className="jp-scriptenv-name">
                {nameOf(requirement)}
                <wbr />
                {requirement.trim().slice(nameOf(requirement).length)}
              </span>
              <span className="jp-scriptenv-faint">
                {declared?.installed[index] ?? 'not installed'}
              </span>
              <IconButton
                label={`Edit ${nameOf(requirement)}`}
                icon={editIcon}
                isDisabled={isBusy}
                hasFocus={left === requirement}
                onClick={() => setEdited(requirement)}
              />
              <IconButton
                label={`Remove ${nameOf(requirement)}`}
                icon={closeIcon}
                isDisabled={isBusy}
                onClick={() => void change(environment.edit('remove', [nameOf(requirement)]))}
              />
            </li>
          )
        )}
      </ul>
    </Section>
  );
}

/** Draw a button that shows an icon alone; its words are for tooltips and screen readers. */
export function IconButton(props: {
  readonly label: string;
  readonly icon: typeof closeIcon;
  readonly isDisabled?: boolean;
  /** Whether it has the keyboard when it comes. */
  readonly hasFocus?: boolean;
  readonly onClick: () => void;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="jp-scriptenv-icon-button"
      title={props.label}
      aria-label={props.label}
      autoFocus={props.hasFocus}
      disabled={props.isDisabled}
      onClick={props.onClick}
    >
      <props.icon.react tag="span" />
    </button>
  );
}
