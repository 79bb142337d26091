/** What is going on, from the events of a task: events in, one state out. */

import type { IEvent } from './answers.js';
import type { IWork } from './states.js';

/** How far a task has come. */
export interface IProgress {
  /** What it is about, as the server put it. */
  readonly sentence: string;
  /** What uv did last. */
  readonly step: string;
  /** Downloads since uv last resolved, each with whether it is there. */
  readonly downloads: ReadonlyMap<string, boolean>;
  /** Whom the work waits for, or empty. */
  readonly waitsFor: string;
}

/** A task that has only begun. */
export const BEGUN: IProgress = { sentence: '', step: '', downloads: new Map(), waitsFor: '' };

const KINDS = new Set(['resolving', 'downloading', 'installing', 'warning']);

/** Give the state that follows; an event of an unknown kind changes nothing. */
export function after(progress: IProgress, event: IEvent): IProgress {
  if (event.event === 'waiting') {
    return { ...progress, waitsFor: event.for ?? 'another process' };
  }
  if (!KINDS.has(event.event)) {
    return progress;
  }
  const going = { ...progress, waitsFor: '' };
  if (event.name) {
    const downloads = new Map(progress.downloads).set(event.name, event.finished === true);
    return { ...going, downloads };
  }
  const text = event.text ?? '';
  if (event.packages) {
    return { ...going, step: text, downloads: new Map() };
  }
  return { ...going, sentence: text || progress.sentence, step: '', downloads: new Map() };
}

/** What an operation is about until the server says more; any other completes the environment. */
const ABOUT: Record<string, string> = {
  delete: 'Deleting the environment',
  edit: 'Working out the change',
  lock: 'Locking',
  move: 'Moving the environment',
  prune: 'Looking for what nobody would miss',
  record: 'Working out the change'
};

/**
 * Give the state as the words of a line, and as numbers where something is downloaded.
 *
 * @param verb - the server's name for what is done
 */
export function workOf(progress: IProgress, verb: string): IWork {
  if (progress.waitsFor) {
    return { text: `Waiting for ${progress.waitsFor} …`, done: null, of: null };
  }
  const { size } = progress.downloads;
  const done = [...progress.downloads.values()].filter(Boolean).length;
  const step = size > 0 ? `${done} of ${size} downloaded` : progress.step;
  const sentence = progress.sentence || (ABOUT[verb] ?? 'Completing the environment');
  const text = step ? `${sentence} … ${step}` : `${sentence} …`;
  return { text, done: size > 0 ? done : null, of: size > 0 ? size : null };
}

/** Give the line that an event adds to the log of an operation; null for one that adds none. */
export function logLine(event: IEvent): string | null {
  switch (event.event) {
    case 'waiting':
      return `Waiting for ${event.for ?? 'another process'}`;
    case 'warning':
      return `Warning: ${event.text ?? ''}`;
    case 'error':
      return null; // it is shown by itself, with what to do
    default:
      return event.text || null;
  }
}

/** Give the resolver's words without the line ends that it puts in for a terminal's width. */
export function unwrapped(words: string): string {
  return words.replace(/\n {6,}(?=\S)/g, ' ');
}
