/** The server's side of this extension, over REST; one function for each request. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IEnvironment, IListing, IProblem, IPython, ICheck, IEvent } from './answers.js';

const ROOT = 'scriptenv';
const TASK_ID = /^[0-9a-f]{32}$/;

/** The server refused a request, or has no such extension. */
export class Refused extends Error {
  /**
   * @param status - of HTTP; 0 where no server answered
   * @param code - the error's code (docs/contract.md, "Errors"), empty where the server has none
   */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string = '',
    readonly problems: readonly IProblem[] = [],
    /** Whether the change waits for the kernel's next start. */
    readonly isPending: boolean = false,
    /** The id of the task that is at work there already, where that is the reason; else null. */
    readonly task: string | null = null
  ) {
    super(message);
  }

  /** Whether the server side of this extension is missing. */
  get isAbsent(): boolean {
    return this.status === 404 && this.code === '';
  }

  /** What happened and what to do, for people. */
  get sentence(): string {
    const places = this.problems.map(each => each.message.replace(/[^.!?]$/, '$&.'));
    return [this.message, ...places, this.hint].filter(Boolean).join(' ');
  }
}

/** Which document a request is about, and the block that stands in it. */
export interface IAbout {
  readonly path: string;
  /** The block's TOML, null without one. */
  readonly block: string | null;
  /** The lock in the notebook's metadata, null: as its file has it. */
  readonly lock: string | null;
}

/** Give all that is known of a document's environment. */
export function environmentOf(about: IAbout): Promise<IEnvironment> {
  return request('POST', 'environment', { ...about, given: true });
}

/** List the environments that there are. */
export function listEnvironments(withSizes: boolean): Promise<IListing> {
  return request('GET', withSizes ? 'environments?size=1' : 'environments');
}

/** Give the Pythons that an environment can be made from. */
export async function pythons(): Promise<readonly IPython[]> {
  return (await request<{ pythons: IPython[] }>('GET', 'pythons')).pythons;
}

/** Give names of packages that begin in this way, as far as they are known here. */
export async function namesWith(prefix: string): Promise<readonly string[]> {
  const query = `names?prefix=${encodeURIComponent(prefix)}`;
  return (await request<{ names: string[] }>('GET', query)).names;
}

/** Check a requirement as it is typed. */
export function checkRequirement(requirement: string): Promise<ICheck> {
  return request('POST', 'check', { requirement });
}

/** Start a task and give its id. */
export async function startTask(body: Record<string, unknown>): Promise<string> {
  return (await request<{ id: string }>('POST', 'tasks', body)).id;
}

/** End a task; one that has ended already is none. */
export async function cancelTask(id: string): Promise<void> {
  await request('DELETE', `tasks/${encodeURIComponent(id)}`).catch(() => undefined);
}

/** Milliseconds before each new try to reach a task whose connection was lost. */
const PAUSES = [200, 500, 1000, 2000, 4000, 8000];

/**
 * Listen to a task until it ends, also where the connection is lost in between.
 *
 * @param hear - called once for each event, those before this call included
 * @returns the task's result, for `done`
 * @throws Refused - for `error`, and where the task cannot be reached again
 */
export async function followTask<T>(id: string, hear: (event: IEvent) => void): Promise<T> {
  let heard = 0;
  for (let tries = 0; tries <= PAUSES.length; tries++) {
    let number = 0;
    const last = await listen(id, event => {
      // Each connection tells all from the first one on.
      if (++number > heard) {
        heard = number;
        tries = 0;
        hear(event);
      }
    });
    if (last?.event === 'done') {
      return last.result as T;
    }
    if (last !== null) {
      throw refusalOf(last);
    }
    await new Promise(resolve => window.setTimeout(resolve, PAUSES[tries]));
  }
  throw new Refused(0, '', 'The connection to the server was lost.');
}

/** Listen to a task over one connection; gives the last event, null where that did not come. */
function listen(id: string, hear: (event: IEvent) => void): Promise<IEvent | null> {
  const settings = ServerConnection.makeSettings();
  const query = settings.appendToken ? `?token=${encodeURIComponent(settings.token)}` : '';
  const address = URLExt.join(settings.wsUrl, ROOT, 'tasks', encodeURIComponent(id), 'events');
  const socket = new settings.WebSocket(address + query);
  return new Promise(resolve => {
    socket.onmessage = message => {
      const event = JSON.parse(String(message.data)) as IEvent;
      hear(event);
      if (event.event === 'done' || event.event === 'error') {
        resolve(event);
        socket.close();
      }
    };
    socket.onclose = () => resolve(null);
  });
}

function refusalOf({ error }: IEvent): Refused {
  const message = error?.message ?? 'The operation failed.';
  return new Refused(500, error?.code ?? '', message, error?.hint, error?.problems, error?.pending);
}

async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const settings = ServerConnection.makeSettings();
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(
      URLExt.join(settings.baseUrl, ROOT, path),
      init,
      settings
    );
  } catch (error) {
    throw new Refused(0, '', `The server does not answer: ${(error as Error).message}`);
  }
  const text = await response.text();
  const answer = parsed(text);
  if (!response.ok) {
    const error = answer?.error ?? {};
    const message = error.message ?? answer?.message ?? response.statusText;
    // The problem of a place where another task is at work is its id: nothing to read.
    const told = (error.problems as IProblem[] | undefined) ?? [];
    const task = told.find(each => TASK_ID.test(each.message))?.message ?? null;
    const problems = task === null ? told : [];
    throw new Refused(
      response.status,
      error.code ?? '',
      message,
      error.hint,
      problems,
      false,
      task
    );
  }
  return answer as T;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
function parsed(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return null; // 204, or a page of a proxy
  }
}
