/** A field for a requirement: names are completed, and what is typed is checked at once. */

import React, { useId, useState } from 'react';

import { nameOf } from '../packages.js';
import { checkRequirement, namesWith } from '../rest.js';
import { useAnswer } from './hooks.js';

/** Properties of `RequirementField`. */
export interface IRequirementProps {
  /** What the field is for, for those who do not see it. */
  readonly label: string;
  /** The text at first. */
  readonly initial?: string;
  /** The word on the button. */
  readonly action: string;
  readonly isDisabled: boolean;
  /** Called with a requirement that can be read; resolves to whether it was taken. */
  readonly onSubmit: (requirement: string) => Promise<boolean>;
  /** Called when the user gives up; the field stays where this is missing. */
  readonly onCancel?: () => void;
}

/** Draw the field, its list of names and its button. */
export function RequirementField(props: IRequirementProps): React.JSX.Element {
  const id = useId();
  const [text, setText] = useState(props.initial ?? '');
  const [isOpen, setIsOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  const check = useAnswer(text, checkRequirement);
  const isName = text.trim() !== '' && nameOf(text) === text.trim();
  const names = useAnswer(isName ? text : '', namesWith) ?? [];
  const isListed = isOpen && names.length > 0 && !(names.length === 1 && names[0] === text.trim());
  const isBad = check?.valid === false;

  const submit = async (): Promise<void> => {
    if (text.trim() && !isBad && !props.isDisabled && (await props.onSubmit(text.trim()))) {
      // What has been typed meanwhile is the next one.
      setText(current => (current === text ? '' : current));
    }
  };
  const take = (name: string): void => {
    setText(name);
    setIsOpen(false);
    setChosen(-1);
  };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && names.length > 0) {
      event.preventDefault();
      setIsOpen(true);
      setChosen((chosen + step + Math.min(names.length, 8)) % Math.min(names.length, 8));
    } else if (event.key === 'Enter' && isListed && chosen >= 0) {
      event.preventDefault();
      take(names[chosen]);
    } else if (event.key === 'Escape') {
      event.stopPropagation();
      if (isListed) {
        setIsOpen(false);
      } else {
        props.onCancel?.();
      }
    }
  };

  return (
    <form
      className="jp-scriptenv-requirement"
      onSubmit={event => {
        event.preventDefault();
        void submit();
      }}
    >
      <div className="jp-scriptenv-row">
        <input
          className="jp-mod-styled jp-scriptenv-input"
          role="combobox"
          aria-label={props.label}
          aria-expanded={isListed}
          aria-controls={`${id}-names`}
          aria-autocomplete="list"
          aria-activedescendant={isListed && chosen >= 0 ? `${id}-${chosen}` : undefined}
          aria-invalid={isBad}
          aria-describedby={`${id}-message`}
          autoComplete="off"
          autoFocus={props.onCancel !== undefined}
          spellCheck={false}
          placeholder="numpy>=2"
          value={text}
          onChange={event => {
            setText(event.target.value);
            setIsOpen(true);
            setChosen(-1);
          }}
          onKeyDown={onKeyDown}
          onBlur={() => setIsOpen(false)}
        />
        <button
          type="submit"
          className="jp-mod-styled jp-mod-accept jp-scriptenv-action"
          disabled={props.isDisabled || !text.trim() || isBad}
        >
          {props.action}
        </button>
      </div>
      <ul
        id={`${id}-names`}
        role="listbox"
        aria-label="Names of packages"
        className="jp-scriptenv-names"
        hidden={!isListed}
      >
        {names.slice(0, 8).map((name, index) => (
          <li
            key={name}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === chosen}
            // Before the field loses the focus, and with it the list.
            onMouseDown={event => {
              event.preventDefault();
              take(name);
            }}
          >
            {name}
          </li>
        ))}
      </ul>
      <div id={`${id}-message`} role="status" className="jp-scriptenv-message">
        {isBad ? check.message : ''}
      </div>
    </form>
  );
}
