/** The slim header of the block's cell: what the cell is for, and how the environment stands. */

import type { Cell } from '@jupyterlab/cells';
import { ReactWidget, UseSignal, caretDownIcon, caretRightIcon } from '@jupyterlab/ui-components';
import type { IDisposable } from '@lumino/disposable';
import type { PanelLayout } from '@lumino/widgets';
import React from 'react';

import type { NotebookEnvironment } from './environment.js';
import { packageIcon } from './icons.js';

/** Keeps the header on the cell that has the block, wherever the block goes. */
export class HeaderKeeper implements IDisposable {
  /** @param onOpen - called when the state is pressed */
  constructor(environment: NotebookEnvironment, onOpen: () => void) {
    this._environment = environment;
    this._onOpen = onOpen;
    environment.changed.connect(this._update, this);
    this._update();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._environment.changed.disconnect(this._update, this);
    this._header?.dispose();
  }

  private _update(): void {
    const cell = this._environment.document.blockWidget;
    const isThere = this._header !== null && !this._header.isDisposed;
    if (cell === this._cell && (cell === null || isThere)) {
      return;
    }
    this._cell = cell;
    this._header?.dispose();
    this._header = null;
    if (cell !== null) {
      // Until then it is a placeholder: long notebooks make their cells as they come into view.
      void cell.ready.then(() => this._put(cell));
    }
  }

  private _put(cell: Cell): void {
    if (this._isDisposed || cell.isDisposed || cell !== this._cell || this._header !== null) {
      return;
    }
    const environment = this._environment;
    const header = ReactWidget.create(
      <UseSignal signal={environment.changed}>
        {() => <Header cell={cell} environment={environment} onOpen={this._onOpen} />}
      </UseSignal>
    );
    header.addClass('jp-scriptenv-cell-header');
    (cell.layout as PanelLayout).insertWidget(0, header);
    this._header = header;
  }

  private readonly _environment: NotebookEnvironment;
  private readonly _onOpen: () => void;
  private _cell: Cell | null = null;
  private _header: ReactWidget | null = null;
  private _isDisposed = false;
}

function Header(props: {
  readonly cell: Cell;
  readonly environment: NotebookEnvironment;
  readonly onOpen: () => void;
}): React.JSX.Element {
  const { cell, environment } = props;
  const { shown } = environment;
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  const isFolded = cell.inputHidden; // JupyterLab has ways of its own to fold a cell
  const Caret = isFolded ? caretRightIcon : caretDownIcon;
  const fold = (): void => {
    cell.inputHidden = !cell.inputHidden;
    draw();
  };
  return (
    <>
      <button
        type="button"
        className="jp-scriptenv-fold"
        aria-expanded={!isFolded}
        title={isFolded ? 'Show the block' : 'Hide the block'}
        onClick={fold}
      >
        <Caret.react tag="span" className="jp-scriptenv-icon" />
        <packageIcon.react tag="span" className="jp-scriptenv-icon" />
        <span>Environment of this notebook</span>
      </button>
      <button
        type="button"
        className="jp-scriptenv-indicator"
        data-tone={shown.tone}
        title={shown.text}
        aria-label={`${shown.label}: show the environment`}
        onClick={props.onOpen}
      >
        <span className="jp-scriptenv-dot" aria-hidden="true" />
        <span className="jp-scriptenv-label">{shown.label}</span>
      </button>
    </>
  );
}
