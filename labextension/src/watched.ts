/** The environment of one notebook that is open: what is known of it. */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { IEnvironment } from './answers.js';
import { KernelChannel } from './channel.js';
import { NotebookDocument } from './document.js';
import { hasGeneric } from './kernels.js';
import { Operation } from './operation.js';
import { environmentOf, Refused } from './rest.js';
import {
  shownState,
  type IKernelState,
  type IServerState,
  type IShown,
  type KernelKind
} from './states.js';

/** Milliseconds without a change before the server is asked again. */
const CALM = 400;

/** What is known of the environment of the notebook in one panel; it is asked again when needed. */
export class WatchedEnvironment implements IDisposable {
  /** @param panel - it disposes of this model */
  constructor(panel: NotebookPanel) {
    this.document = new NotebookDocument(panel);
    this.session = panel.sessionContext;
    this.session.kernelChanged.connect(this._onKernel, this);
    this.session.statusChanged.connect(this._onStatus, this);
    panel.context.pathChanged.connect(this._onPath, this);
    this.document.saved.connect(this.refreshSoon, this);
    panel.disposed.connect(this.dispose, this);
    void this.document.ready.then(() => {
      if (!panel.isDisposed) {
        panel.context.model.contentChanged.connect(this._onContent, this);
        this.refreshSoon();
      }
    });
    this._onKernel();
  }

  /** Tells this notebook from others on this page. */
  readonly id = UUID.uuid4();

  /** The open document. */
  readonly document: NotebookDocument;

  /** The session that its cells run in. */
  readonly session: ISessionContext;

  /** Emitted when anything changes that is shown. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What the server knows; null until it has answered, and where it has no such extension. */
  get info(): IEnvironment | null {
    return this._info;
  }

  /** Whether the server has no such extension: what it would do is not offered. */
  get isServerAbsent(): boolean {
    return this._isServerAbsent;
  }

  /** Why the server could not tell, or null. */
  get refusal(): Refused | null {
    return this._refusal;
  }

  /** The operation that goes on, or that ended last; null before the first. */
  get operation(): Operation | null {
    return this._operation;
  }

  /** How the environment stands. */
  get shown(): IShown {
    const { info, operation } = this;
    const waits = operation !== null && operation.isRunning;
    return shownState({
      kind: this._kind,
      kernel: this._channel?.state ?? null,
      server: info === null ? null : this._serverState(info),
      serverIsNewer: this._serverIsNewer,
      isChanged: this._hasEnded || declarationOf(this.document) !== this._toldFor,
      work: waits ? operation.work : null,
      failure: operation?.failure?.sentence ?? this._refused,
      waitsForRestart: operation?.failure?.isPending === true
    });
  }

  /** Whether the notebook runs elsewhere, and could run in its own environment. */
  get canTakeKernel(): boolean {
    const told = this._channel?.state ?? null;
    const isElsewhere = told === null || told.state === 'other-kernel';
    return this._kind !== 'ours' && isElsewhere && hasGeneric(this.session);
  }

  /** The kernel's own word, or null. */
  get kernelState(): IKernelState | null {
    return this._channel?.state ?? null;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      window.clearTimeout(this._timer);
      window.clearTimeout(this._typing);
      this._channel?.dispose();
      Signal.clearData(this);
    }
  }

  /** Ask the server, after a moment without another call. */
  refreshSoon(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => void this.refresh(), CALM);
  }

  /** Ask the server how the environment stands to the block in the open document. */
  async refresh(): Promise<void> {
    await this.document.ready;
    if (this._isDisposed) {
      return;
    }
    const asked = ++this._asked;
    const { path, block, lock, problem } = this.document;
    this._askedDeclaration = declarationOf(this.document);
    try {
      if (problem !== null) {
        throw new Refused(0, 'bad-block', problem);
      }
      const info = await environmentOf({ path, block, lock });
      if (asked !== this._asked) {
        return; // a later question is on its way
      }
      this._info = info;
      this._refusal = null;
      this._isServerAbsent = false;
      this._serverIsNewer = true;
      this.takeUp(info.task);
    } catch (error) {
      if (asked !== this._asked || !(error instanceof Refused)) {
        return;
      }
      this._isServerAbsent = error.isAbsent;
      this._refusal = error.isAbsent ? null : error;
      this._info = null;
    }
    this._changed.emit();
  }

  private _serverState(info: IEnvironment): IServerState {
    const { state, reason } = info.status;
    const changes = changesOf(info);
    // The kernel knows the lock that the file has; what both lock is installed, as far as can be told.
    const isHeld = state === 'stale' && changes === 0 && info.lock.state === 'current';
    if (this.document.hasUnsavedLock && (state === 'in-sync' || isHeld)) {
      return { state: 'in-sync', reason: 'Save the notebook to keep its lock.', changes };
    }
    return { state, reason: reason ?? '', changes };
  }

  /**
   * Show a task that was begun by another window, or before the page was loaded anew.
   *
   * @param verb - what it does, where that is known
   */
  takeUp(task: string | null, verb = 'sync'): void {
    const last = this._operation;
    // One that has ended here is over; one that was lost may be reached again.
    const isOver = last?.id === task && last.failure?.status !== 0;
    if (task !== null && !last?.isRunning && !isOver && !this._isDisposed) {
      const operation = this._begin(new Operation(verb, task));
      void operation
        .follow()
        .catch(() => undefined)
        .then(() => this.refresh());
    }
  }

  protected _begin(operation: Operation): Operation {
    this._operation = operation;
    operation.changed.connect(() => this._changed.emit());
    this._changed.emit();
    return operation;
  }

  /** Why the server cannot tell; null also where it has no such file, as it may not be saved yet. */
  private get _refused(): string | null {
    const isNews = this._refusal !== null && this._refusal.code !== 'not-found';
    return isNews ? (this._refusal?.sentence ?? null) : null;
  }

  protected get _kind(): KernelKind {
    const name = this.session.session?.kernel?.name;
    return name === undefined ? 'none' : name.startsWith('scriptenv') ? 'ours' : 'other';
  }

  private _onKernel(): void {
    this._channel?.dispose();
    const kernel = this.session.session?.kernel ?? null;
    this._channel =
      kernel === null
        ? null
        : new KernelChannel(
            kernel,
            edit => this.document.write(edit),
            () => !this.document.isReadOnly
          );
    this._channel?.changed.connect(this._onKernelState, this);
    this._channel?.installed.connect(this.refreshSoon, this);
    this._changed.emit();
    this.refreshSoon(); // its start may have made the environment
  }

  /** A connection without comms tells nothing: the server is asked when the kernel has worked. */
  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'idle' && this._kind === 'ours' && this.kernelState === null) {
      this.refreshSoon();
    }
  }

  private _onKernelState(channel: KernelChannel): void {
    this._serverIsNewer = false;
    this._hasEnded = false;
    this._toldFor = declarationOf(this.document);
    if (channel.state === null || channel.state.state !== 'working') {
      // It is restarting, or a cell has been run: what failed before is not the news any more.
      if (!this._operation?.isRunning) {
        this._operation?.forget();
      }
      this.refreshSoon();
    }
    this._changed.emit();
  }

  private _onContent(): void {
    // At each key: what is to be seen of it waits until the typing rests.
    window.clearTimeout(this._typing);
    this._typing = window.setTimeout(() => {
      if (!this._isDisposed && declarationOf(this.document) !== this._askedDeclaration) {
        this.refreshSoon();
      }
      this._changed.emit();
    }, CALM);
  }

  private _onPath(): void {
    this.refreshSoon();
  }

  /** Whether an operation has ended since the kernel told its state. */
  protected _hasEnded = false;

  private readonly _changed = new Signal<this, void>(this);
  private _channel: KernelChannel | null = null;
  private _info: IEnvironment | null = null;
  private _refusal: Refused | null = null;
  private _operation: Operation | null = null;
  private _isServerAbsent = false;
  private _serverIsNewer = false;
  private _isDisposed = false;
  private _askedDeclaration = '';
  private _toldFor = '';
  private _asked = 0;
  private _timer = 0;
  private _typing = 0;
}

/** Give what a document declares as one text, to compare it. */
function declarationOf({ block, lock, problem }: NotebookDocument): string {
  return JSON.stringify([block, lock, problem]);
}

/** Count what a sync would change, as far as that can be told without resolving. */
function changesOf({ status }: IEnvironment): number {
  const missing = status.declared?.installed.filter(version => version === null).length ?? 0;
  return missing + status.drift.length;
}
