/** The environments of all notebooks that are open, and which one is in front. */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Event } from '@jupyterlab/services';
import { Signal, type ISignal } from '@lumino/signaling';

import { NotebookEnvironment } from './environment.js';

/** What the server tells when any window has had it begin a task (docs/contract.md, "REST"). */
const TASK_BEGUN = 'urn:ipy-scriptenv:task-begun:v1';

/** One model for each notebook panel, made when it is first asked for. */
export class Environments {
  /**
   * @param tracker - the notebooks that are open
   * @param events - those of the server
   */
  constructor(tracker: INotebookTracker, events: Event.IManager) {
    this._tracker = tracker;
    tracker.widgetAdded.connect((_, panel) => this.of(panel));
    tracker.currentChanged.connect(this._onCurrent, this);
    tracker.forEach(panel => this.of(panel));
    this._onCurrent();
    events.stream.connect((_, { schema_id, path, task, verb }) => {
      if (schema_id === TASK_BEGUN) {
        const meant = this.all.filter(each => each.document.path === path);
        meant.forEach(each => each.takeUp(String(task), String(verb)));
      }
    });
    // A terminal, another server: whatever has changed meanwhile is seen when one comes back.
    window.addEventListener('focus', () => this._current?.refreshSoon());
  }

  /** The environment of the notebook in front; null without a notebook. */
  get current(): NotebookEnvironment | null {
    return this._current;
  }

  /** Emitted when another notebook comes to the front. */
  get currentChanged(): ISignal<this, void> {
    return this._currentChanged;
  }

  /** Emitted for each notebook that is opened. */
  get opened(): ISignal<this, NotebookPanel> {
    return this._opened;
  }

  /** The environments of all notebooks that are open. */
  get all(): readonly NotebookEnvironment[] {
    return [...this._models.values()];
  }

  /** Give the environment of the notebook in a panel. */
  of(panel: NotebookPanel): NotebookEnvironment {
    const known = this._models.get(panel);
    if (known !== undefined) {
      return known;
    }
    const made = new NotebookEnvironment(panel);
    this._models.set(panel, made);
    panel.disposed.connect(() => this._models.delete(panel));
    this._opened.emit(panel);
    return made;
  }

  private _onCurrent(): void {
    const panel = this._tracker.currentWidget;
    const current = panel === null || panel.isDisposed ? null : this.of(panel);
    if (current !== this._current) {
      this._current = current;
      current?.refreshSoon();
      this._currentChanged.emit();
    }
  }

  private readonly _tracker: INotebookTracker;
  private readonly _models = new Map<NotebookPanel, NotebookEnvironment>();
  private readonly _currentChanged = new Signal<this, void>(this);
  private readonly _opened = new Signal<this, NotebookPanel>(this);
  private _current: NotebookEnvironment | null = null;
}
