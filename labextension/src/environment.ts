/** The environment of one notebook that is open: what can be done with it. */

import type { IEditResult, ILockResult, ISyncResult } from './answers.js';
import { startGeneric, withoutKernel } from './kernels.js';
import { Operation } from './operation.js';
import { cancelTask, Refused } from './rest.js';
import { WatchedEnvironment } from './watched.js';

/** What an edit does to the block. */
export type EditKind = 'add' | 'remove' | 'change' | 'python';

/** The environment of the notebook in one panel; each operation is shown while it goes on. */
export class NotebookEnvironment extends WatchedEnvironment {
  /**
   * Change the block's cell in the open document, then complete the environment.
   *
   * @param words - requirements, names or a Python, as behind `%scriptenv add`; for `change` the
   * old requirement and the new one
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

  /** Have the notebook run in its own environment. */
  async takeKernel(): Promise<void> {
    await startGeneric(this.session);
  }

  /** Install what the block in the open document declares. */
  async sync(): Promise<void> {
    await this._complete('sync', this._given());
  }

  /** Pin what the block resolves to; an environment that was in sync is brought to the lock. */
  async lock(embed: boolean): Promise<void> {
    const isInSync = this.info?.status.state === 'in-sync';
    const asked = { ...this._given(), embed };
    this._keepLock((await this._run<ILockResult>('lock', asked, false)).text);
    await (isInSync ? this.sync() : this.refresh());
  }

  /** Let packages be newer; all of them without names. */
  async upgrade(packages: readonly string[] = []): Promise<void> {
    await this._complete('upgrade', { ...this._given(), packages });
  }

  /** Whether a kernel is in the way of building anew: it would be shut down for that. */
  get isRunning(): boolean {
    return this._kind === 'ours';
  }

  /** Build the environment anew, with the kernel shut down meanwhile. */
  async rebuild(): Promise<void> {
    const given = this._given(); // refused, if at all, while the kernel still runs
    const work = (): Promise<void> => this._complete('rebuild', given);
    await (this.isRunning ? withoutKernel(this.session, work) : work());
  }

  /** Switch the kernelspec of this notebook on or off. */
  async register(isWanted: boolean): Promise<void> {
    await this._run(isWanted ? 'register' : 'unregister', {});
    await this.session.specsManager.refreshSpecs(); // or the kernel picker follows a minute later
  }

  /** End the operation that goes on, and the uv that works for it. */
  async cancel(): Promise<void> {
    if (this.operation?.id) {
      await cancelTask(this.operation.id);
    }
  }

  private async _change(verb: string, options: Record<string, unknown>): Promise<void> {
    let before: string | null;
    let result: IEditResult;
    do {
      this._checkBlock(); // a new one beside it would make things worse
      before = this.document.blockCell;
      const asked = { ...options, cell: before, lock: this.document.lock };
      result = await this._run<IEditResult>(verb, asked, false);
      // What has been typed into the block meanwhile would be written over.
    } while (!this.isDisposed && this.document.blockCell !== before);
    const edit = { cell: result.cell, before, number: null, lock: result.lock };
    if (!(await this.document.write(edit))) {
      throw new Refused(0, 'permission', 'This notebook is read-only: its block stays as it is.');
    }
    await this.sync();
  }

  private async _complete(verb: string, options: Record<string, unknown>): Promise<void> {
    const { lock } = await this._run<ISyncResult>(verb, options, false);
    this._keepLock(lock);
    await this.refresh();
  }

  private _keepLock(lock: string | null): void {
    if (lock !== null) {
      this.document.writeLock(lock);
    }
  }

  /** @throws Refused - where it cannot be told what is declared: all would seem to be superfluous */
  private _checkBlock(): void {
    const { problem } = this.document;
    if (problem !== null) {
      void this.refresh(); // which shows it
      throw new Refused(0, 'bad-block', problem);
    }
  }

  private _given(): Record<string, unknown> {
    this._checkBlock();
    return { block: this.document.block, lock: this.document.lock, given: true };
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
    } catch (error) {
      this.takeUp(error instanceof Refused ? error.task : null);
      throw error;
    } finally {
      if (looks) {
        await this.refresh();
      }
    }
  }
}
