/** The block's cell in a notebook that is open: read, and changed through the shared model. */

import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { Signal, type ISignal } from '@lumino/signaling';

import {
  blockOfCell,
  blockProblem,
  cellToWrite,
  difference,
  onlyBlock,
  type ICodeCell
} from './block.js';
import type { IEdit } from './channel.js';

/** Where a notebook keeps its lock (the kernel and the command line read it there). */
const LOCK = 'uv.lock';

/** The document of one notebook panel. */
export class NotebookDocument {
  /** @param panel - a notebook that is open; its document may still be loading */
  constructor(panel: NotebookPanel) {
    this._panel = panel;
    void panel.context.ready.then(() => {
      this._keepLock();
      // Saved, or loaded from the disk again: from then on both hold the same.
      panel.context.model?.stateChanged.connect((model, { name }) => {
        if (name === 'dirty' && !model.dirty) {
          this._keepLock();
        }
      });
    });
    panel.context.saveState.connect((_, state) => {
      if (state === 'completed') {
        this._saved.emit();
      }
    });
  }

  /** Emitted when the document has been saved. */
  get saved(): ISignal<this, void> {
    return this._saved;
  }

  /** Whether the notebook has got a lock that its file does not hold yet. */
  get hasUnsavedLock(): boolean {
    return this.lock !== null && this.lock !== this._savedLock;
  }

  /** Its path, as Jupyter's server knows it. */
  get path(): string {
    return this._panel.context.localPath; // without the drive that collaboration puts in front
  }

  /** Whether nothing can be written into the document. */
  get isReadOnly(): boolean {
    const { contentsModel, model } = this._panel.context;
    return model?.readOnly === true || contentsModel?.writable === false;
  }

  /** The lock in the notebook's metadata, or null. */
  get lock(): string | null {
    const lock: unknown = this._panel.context.model?.sharedModel.getMetadata(LOCK);
    return typeof lock === 'string' ? lock : null;
  }

  /** Wait until the document is loaded. */
  get ready(): Promise<void> {
    return this._panel.context.ready;
  }

  /** The text of the cell with the block; null without one, or where two have one. */
  get blockCell(): string | null {
    return onlyBlock(this._codeCells())?.source ?? null;
  }

  /** Why the block cannot be told, in a sentence; null if it can. */
  get problem(): string | null {
    return blockProblem(this._codeCells());
  }

  /** The block's TOML, as it stands in the open document; null as `blockCell`. */
  get block(): string | null {
    const cell = this.blockCell;
    return cell === null ? null : (blockOfCell(cell)?.toml ?? null);
  }

  /** The widget of the block's cell; null as `blockCell`. */
  get blockWidget(): Cell | null {
    const found = onlyBlock(this._codeCells());
    return found === null ? null : (this._panel.content.widgets[found.index] ?? null);
  }

  /**
   * Put an edit into the document: one step that undo takes back.
   *
   * @returns false where the document cannot be changed
   */
  async write(edit: IEdit): Promise<boolean> {
    await this.ready;
    if (this.isReadOnly || this._panel.isDisposed) {
      return false;
    }
    const shared = this._panel.context.model.sharedModel;
    const index = cellToWrite(this._codeCells(), edit.before, edit.cell, edit.number);
    if (index === null) {
      shared.insertCell(0, { cell_type: 'code', source: edit.cell, metadata: {}, outputs: [] });
    } else {
      const cell = shared.getCell(index);
      const change = difference(cell.getSource(), edit.cell);
      if (change !== null) {
        // In a transaction of the cell: undo is a cell's own, and would not see the notebook's.
        cell.updateSource(change.start, change.end, change.text);
      }
    }
    return edit.lock === null || this.writeLock(edit.lock);
  }

  /** Put a lock into the notebook's metadata; false as `write`. */
  writeLock(lock: string): boolean {
    if (this.isReadOnly || this._panel.isDisposed) {
      return false;
    }
    const shared = this._panel.context.model.sharedModel;
    if (shared.getMetadata(LOCK) !== lock) {
      shared.setMetadata(LOCK, lock);
    }
    return true;
  }

  /** Show the block's cell and put the cursor there; false without one. */
  async reveal(): Promise<boolean> {
    const found = onlyBlock(this._codeCells());
    if (found === null) {
      return false;
    }
    const notebook = this._panel.content;
    notebook.activeCellIndex = found.index;
    await notebook.scrollToItem(found.index, 'smart');
    notebook.activate();
    notebook.mode = 'edit';
    return true;
  }

  private _keepLock(): void {
    this._savedLock = this.lock;
  }

  private _codeCells(): ICodeCell[] {
    const shared = this._panel.context.model?.sharedModel;
    if (!shared) {
      return []; // a panel that is being disposed has no model any more
    }
    return shared.cells.flatMap((cell, index) =>
      cell.cell_type === 'code' ? [{ index, source: cell.getSource() }] : []
    );
  }

  private readonly _panel: NotebookPanel;
  private readonly _saved = new Signal<this, void>(this);
  private _savedLock: string | null = null;
}
