/** The channel between this page and a kernel of ours (docs/contract.md, "The front end"). */

import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { IKernelState } from './states.js';

const PROTOCOL = 1;
const TARGET = 'scriptenv';
/** What a cell says that brings us into a kernel that did not begin as ours. */
const LOADING = /^\s*%(load|reload)_ext\s+ipy_scriptenv\b/m;
/** What a cell says that may change the environment by hand. */
const INSTALLING = /^\s*[%!].*\b(pip|uv|scriptenv)\b/m;

/** A change of the block's cell, as a kernel asks for it. */
export interface IEdit {
  /** The text that the cell is to have. */
  readonly cell: string;
  /** The text it had when it was executed, or null. */
  readonly before: string | null;
  /** The cell's place in the file, counted from 1, or null. */
  readonly number: number | null;
  /** The lock that the notebook's metadata is to hold from now on, or null to leave it. */
  readonly lock: string | null;
}

/**
 * The comm with one kernel connection; it is opened again after each restart.
 *
 * While it is open, each execution that this page asks for names it, so that an edit comes to the
 * window that ran the line.
 */
export class KernelChannel implements IDisposable {
  /**
   * @param kernel - the notebook's connection to its kernel
   * @param write - puts an edit into the document; false where that cannot be
   * @param canWrite - whether an edit can be put there now
   */
  constructor(
    kernel: Kernel.IKernelConnection,
    write: (edit: IEdit) => Promise<boolean>,
    canWrite: () => boolean
  ) {
    this._kernel = kernel;
    this._write = write;
    this._canWrite = canWrite;
    this._hasUs = kernel.name.startsWith('scriptenv');
    this._unwrap = this._wrapExecutions();
    kernel.statusChanged.connect(this._onStatus, this);
    kernel.connectionStatusChanged.connect(this._onConnection, this);
    this._open();
  }

  /** The kernel's last word about its environment; null where it has none. */
  get state(): IKernelState | null {
    return this._state;
  }

  /** Emitted when the kernel tells another state. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted when a cell has ended that may have changed the environment by hand. */
  get installed(): ISignal<this, void> {
    return this._installed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Let the kernel go; it may be closed already. */
  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._unwrap();
    if (this._comm !== null && !this._comm.isDisposed && !this._kernel.isDisposed) {
      this._comm.close();
    }
    this._comm = null;
    Signal.clearData(this);
  }

  /**
   * Try to open the comm, unless it stands or the kernel has refused it since its start.
   *
   * Of a page's connections to one kernel (a console's, another notebook's) one alone has comms.
   */
  private _open(): void {
    const isThere = this._comm !== null && !this._comm.isDisposed;
    if (
      isThere ||
      !this._hasUs ||
      !this._kernel.handleComms ||
      this._isRefused ||
      this._kernel.connectionStatus !== 'connected'
    ) {
      return;
    }
    const comm = this._kernel.createComm(TARGET);
    this._comm = comm;
    comm.onMsg = message => this._hear(comm, message.content.data as JSONObject);
    comm.onClose = () => {
      if (this._comm === comm) {
        this._comm = null;
        this._isRefused = true;
        this._tell(null);
      }
    };
    comm.open({ protocol: PROTOCOL });
  }

  private _hear(comm: Kernel.IComm, data: JSONObject): void {
    if (data.op === 'state') {
      this._tell(data as unknown as IKernelState);
    } else if (data.op === 'write-block') {
      // Not awaited: the document may still be loading, and the kernel's messages are not to wait.
      void this._write(data as unknown as IEdit).then(isWritten => {
        if (isWritten && !comm.isDisposed) {
          comm.send({ op: 'written', id: data.id ?? null });
        }
      });
    }
  }

  private _tell(state: IKernelState | null): void {
    this._state = state;
    this._changed.emit();
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._comm = null;
      this._isRefused = false;
      this._tell(null);
    } else {
      this._open();
    }
  }

  private _onConnection(): void {
    this._open();
  }

  /**
   * Have each execution of this connection name the comm.
   *
   * JupyterLab gives no place to add to a request's metadata: a cell's own is sent, and no signal
   * comes before.
   */
  private _wrapExecutions(): () => void {
    const kernel = this._kernel;
    const own = Object.prototype.hasOwnProperty.call(kernel, 'requestExecute');
    const original = kernel.requestExecute;
    const wrapped: typeof original = (content, disposeOnDone, metadata) => {
      // Without a name, an edit is shown as the next cell: nothing is lost where none can be written.
      const isOpen = this._comm?.isDisposed === false && this._canWrite();
      const name = isOpen ? (this._comm?.commId ?? null) : null;
      const named: JSONObject = { scriptenv: { protocol: PROTOCOL, comm: name } };
      const all = name === null ? metadata : { ...metadata, ...named };
      const future = original.call(kernel, content, disposeOnDone, all);
      this._follow(content, future.done);
      return future;
    };
    kernel.requestExecute = wrapped;
    return () => {
      if (kernel.requestExecute !== wrapped) {
        return; // another extension has wrapped it since; ours names nothing any more
      }
      if (own) {
        kernel.requestExecute = original;
      } else {
        delete (kernel as Partial<typeof kernel>).requestExecute;
      }
    };
  }

  /** A kernel that did not begin as ours has us after a cell that loads the extension. */
  private _follow(
    content: KernelMessage.IExecuteRequestMsg['content'],
    done: Promise<unknown>
  ): void {
    if (INSTALLING.test(content.code)) {
      done.then(
        () => this._installed.emit(),
        () => undefined
      );
    }
    if (LOADING.test(content.code)) {
      const again = (): void => {
        this._hasUs = true;
        this._isRefused = false;
        this._open();
      };
      done.then(again, () => undefined);
    }
  }

  private readonly _kernel: Kernel.IKernelConnection;
  private readonly _write: (edit: IEdit) => Promise<boolean>;
  private readonly _canWrite: () => boolean;
  private readonly _unwrap: () => void;
  private readonly _installed = new Signal<this, void>(this);
  private readonly _changed = new Signal<this, void>(this);
  private _comm: Kernel.IComm | null = null;
  private _hasUs: boolean;
  private _isRefused = false;
  private _isDisposed = false;
  private _state: IKernelState | null = null;
}
