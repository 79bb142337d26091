/** One operation on an environment, from its start to its end: a task of the server. */

import { Signal, type ISignal } from '@lumino/signaling';

import type { IEvent } from './answers.js';
import { after, BEGUN, logLine, workOf, type IProgress } from './progress.js';
import { followTask, Refused, startTask } from './rest.js';
import type { IWork } from './states.js';

/** What is done, how far it has come, and how it ended. */
export class Operation {
  /**
   * @param verb - the server's name for it: `sync`, `lock` …
   * @param id - of the task, where it runs already
   */
  constructor(
    readonly verb: string,
    id: string | null = null
  ) {
    this._id = id;
  }

  /** Emitted for each event, and at the end. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The task's id; null until the server has begun it. */
  get id(): string | null {
    return this._id;
  }

  /** Whether it has not ended. */
  get isRunning(): boolean {
    return this._isRunning;
  }

  /** How far it has come. */
  get work(): IWork {
    return workOf(this._progress, this.verb);
  }

  /** Its log, a line each. */
  get log(): readonly string[] {
    return this._log;
  }

  /** Why it failed, or null. */
  get failure(): Refused | null {
    return this._failure;
  }

  /** Forget a failure: something has changed since. */
  forget(): void {
    this._failure = null;
  }

  /**
   * Have the server begin the task, and wait for its end.
   *
   * @throws Refused - if it fails; `failure` keeps it
   */
  async start<T>(body: Record<string, unknown>): Promise<T> {
    try {
      this._id = await startTask(body);
    } catch (error) {
      this._end(error);
      throw error;
    }
    return this.follow<T>();
  }

  /**
   * Wait for the end of a task that has begun.
   *
   * @throws Refused - as `start`
   */
  async follow<T>(): Promise<T> {
    try {
      const result = await followTask<T>(this._id ?? '', event => this._hear(event));
      this._end(null);
      return result;
    } catch (error) {
      this._end(error);
      throw error;
    }
  }

  private _hear(event: IEvent): void {
    this._progress = after(this._progress, event);
    const line = logLine(event);
    if (line !== null && line !== this._log[this._log.length - 1]) {
      this._log = [...this._log, line];
    }
    this._changed.emit();
  }

  private _end(error: unknown): void {
    this._isRunning = false;
    // What the user has cancelled is no failure, nor is another task: that is shown instead.
    const isFailure =
      error instanceof Refused && error.code !== 'interrupted' && error.task === null;
    this._failure = isFailure ? error : null;
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
  private _id: string | null;
  private _isRunning = true;
  private _progress: IProgress = BEGUN;
  private _log: readonly string[] = [];
  private _failure: Refused | null = null;
}
