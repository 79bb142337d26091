/** The environment of one notebook that is open: what is known of it, and what can be done. */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { IEditResult, IEnvironment, ILockResult, ISyncResult } from './answers.js';
import { KernelChannel } from './channel.js';
import { NotebookDocument } from './document.js';
import { Operation } from './operation.js';
import { cancelTask, environmentOf, Refused } from './rest.js';
import {
  shownState,
  type IKernelState,
  type IServerState,
  type IShown,
  type KernelKind
} from './states.js';

/** Milliseconds without a change before the server is asked again. */
const CALM = 400;

/** What an edit does to the block. */
export type EditKind = 'add' | 'remove' | 'python';

/** The environment of the notebook in one panel. */
export class NotebookEnvironment implements IDisposable {
  /** @param panel - it disposes of this model */
  constructor(panel: NotebookPanel) {
    this.document = new NotebookDocument(panel);
    this.session = panel.sessionContext;
    this.session.kernelChanged.connect(this._onKernel, this);
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
    const { path, block, problem } = this.document;
    this._askedDeclaration = declarationOf(this.document);
    try {
      if (problem !== null) {
        throw new Refused(0, 'bad-block', problem);
      }
      const info = await environmentOf({ path, block });
      if (asked !== this._asked) {
        return; // a later question is on its way
      }
      this._info = info;
      this._refusal = null;
      this._isServerAbsent = false;
      this._serverIsNewer = true;
      this._takeUp(info.task);
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

  /**
   * Change the block's cell in the open document, then complete the environment.
   *
   * @param words - requirements, names or a Python, as behind `%scriptenv add`
   * @throws Refused - if the edit cannot be made; then nothing has changed
   */
  async edit(kind: EditKind, words: readonly string[]): Promise<void> {
    await this._change('edit', { edit: kind, words });
  }

  /**
   * Declare a package that was installed by hand, then complete the environment.
   *
   * @throws Refused - as `edit`
   */
  async record(name: string): Promise<void> {
    await this._change('record', { name });
  }

  /** Install what the block in the open document declares. */
  async sync(): Promise<void> {
    await this._complete('sync', this._given());
  }

  /** Pin what the block resolves to. */
  async lock(embed: boolean): Promise<void> {
    this._keepLock((await this._run<ILockResult>('lock', { ...this._given(), embed })).text);
    this.refreshSoon();
  }

  /** Let packages be newer; all of them without names. */
  async upgrade(packages: readonly string[] = []): Promise<void> {
    await this._complete('upgrade', { ...this._given(), packages });
  }

  /** Build the environment anew. */
  async rebuild(): Promise<void> {
    await this._run('rebuild', {});
  }

  /** Switch the kernelspec of this notebook on or off. */
  async register(isWanted: boolean): Promise<void> {
    await this._run(isWanted ? 'register' : 'unregister', {});
  }

  /** End the operation that goes on, and the uv that works for it. */
  async cancel(): Promise<void> {
    if (this._operation?.id) {
      await cancelTask(this._operation.id);
    }
  }

  private async _change(verb: string, options: Record<string, unknown>): Promise<void> {
    if (this.document.problem !== null) {
      return; // it is shown, and a new block beside it would make things worse
    }
    const before = this.document.blockCell;
    const result = await this._run<IEditResult>(verb, { ...options, cell: before }, false);
    const edit = { cell: result.cell, before, number: null, lock: result.lock };
    if (!(await this.document.write(edit))) {
      throw new Refused(0, 'permission', 'This notebook is read-only: its block stays as it is.');
    }
    await this.sync();
  }

  private async _complete(verb: string, options: Record<string, unknown>): Promise<void> {
    const declared = declarationOf(this.document);
    this._keepLock((await this._run<ISyncResult>(verb, options)).lock);
    this._completedFor = declared;
    this._changed.emit();
  }

  private _serverState(info: IEnvironment): IServerState {
    const { state, reason } = info.status;
    const changes = changesOf(info);
    const isCompleted = this._completedFor === declarationOf(this.document);
    if (state === 'stale' && changes === 0 && isCompleted && this.document.hasUnsavedLock) {
      // The server compares with the lock that the file has, and the new one is not saved yet.
      return { state: 'in-sync', reason: 'Save the notebook to keep its lock.', changes };
    }
    return { state, reason: reason ?? '', changes };
  }

  private _keepLock(lock: string | null): void {
    if (lock !== null) {
      this.document.writeLock(lock);
    }
  }

  private _given(): Record<string, unknown> {
    return { block: this.document.block, given: true };
  }

  /** @param isLast - whether nothing follows that will look again, if it goes well */
  private async _run<T>(verb: string, options: Record<string, unknown>, isLast = true): Promise<T> {
    const operation = this._begin(new Operation(verb));
    let looks = true;
    try {
      const result = await operation.start<T>({ verb, path: this.document.path, ...options });
      this._hasEnded = true;
      looks = isLast;
      return result;
    } finally {
      if (looks) {
        await this.refresh();
      }
    }
  }

  /** Show a task that was begun by another window, or before the page was loaded anew. */
  private _takeUp(task: string | null): void {
    if (task !== null && !this._operation?.isRunning && this._operation?.id !== task) {
      const operation = this._begin(new Operation('sync', task));
      void operation
        .follow()
        .catch(() => undefined)
        .then(() => this.refresh());
    }
  }

  private _begin(operation: Operation): Operation {
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

  private get _kind(): KernelKind {
    const name = this.session.session?.kernel?.name;
    return name === undefined ? 'none' : name.startsWith('scriptenv') ? 'ours' : 'other';
  }

  private _onKernel(): void {
    this._channel?.dispose();
    const kernel = this.session.session?.kernel ?? null;
    this._channel =
      kernel === null ? null : new KernelChannel(kernel, edit => this.document.write(edit));
    this._channel?.changed.connect(this._onKernelState, this);
    this._changed.emit();
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

  private readonly _changed = new Signal<this, void>(this);
  private _channel: KernelChannel | null = null;
  private _info: IEnvironment | null = null;
  private _refusal: Refused | null = null;
  private _operation: Operation | null = null;
  private _isServerAbsent = false;
  private _serverIsNewer = false;
  private _isDisposed = false;
  private _hasEnded = false;
  private _askedDeclaration = '';
  private _toldFor = '';
  private _completedFor: string | null = null;
  private _asked = 0;
  private _timer = 0;
  private _typing = 0;
}

/** Give what a document declares as one text, to compare it. */
function declarationOf({ block, problem }: NotebookDocument): string {
  return JSON.stringify([block, problem]);
}

/** Count what a sync would change, as far as that can be told without resolving. */
function changesOf({ status }: IEnvironment): number {
  const missing = status.declared?.installed.filter(version => version === null).length ?? 0;
  return missing + status.drift.length;
}
