/** How an environment stands, in the words and colours that a person sees. */

/** What the kernel tells over its comm (docs/contract.md, "The front end"). */
export interface IKernelState {
  readonly state: string;
  readonly text: string;
  readonly done: number | null;
  readonly of: number | null;
}

/** What the server tells about the open document's block, as far as the state needs it. */
export interface IServerState {
  /** A state of `status`: `missing`, `in-sync`, `stale`, `pending`, `broken`. */
  readonly state: string;
  /** Why, for people; may be empty. */
  readonly reason: string;
  /** How many changes would be made, as far as they can be counted. */
  readonly changes: number;
}

/** A task that the server works on for this notebook. */
export interface IWork {
  readonly text: string;
  readonly done: number | null;
  readonly of: number | null;
}

/** Whose kernel a notebook has: `ours` is one whose kernelspec is. */
export type KernelKind = 'none' | 'other' | 'ours';

/** All that is known about one notebook. */
export interface IKnown {
  readonly kind: KernelKind;
  readonly kernel: IKernelState | null;
  readonly server: IServerState | null;
  /** Whether the server has answered since the kernel told its state. */
  readonly serverIsNewer: boolean;
  /** Whether the block was changed, or an operation has ended, since the kernel told its state. */
  readonly isChanged: boolean;
  readonly work: IWork | null;
  /** Whether the last operation failed, and nothing has been changed since: what it said. */
  readonly failure: string | null;
  /** Whether it failed because the change has to wait for the kernel's next start. */
  readonly waitsForRestart: boolean;
}

/** The colour that a state is shown in; never without its text. */
export type Tone = 'good' | 'waiting' | 'working' | 'bad' | 'none';

/** A state as it is shown. */
export interface IShown {
  readonly tone: Tone;
  /** A few words, as in the toolbar: `in sync`. */
  readonly label: string;
  /** A sentence, as in a tooltip. */
  readonly text: string;
  /** Whether no cell runs until the kernel is restarted. */
  readonly needsRestart: boolean;
}

const SERVER_STATES: Record<string, [Tone, string]> = {
  'in-sync': ['good', 'in sync'],
  missing: ['waiting', 'not made yet'],
  pending: ['waiting', 'changes wait for a restart'],
  broken: ['bad', 'damaged']
};

/** Say how an environment stands, from all that is known. */
export function shownState(known: IKnown): IShown {
  const { kernel, server, work } = known;
  if (work !== null) {
    return shown('working', working(work), work.text);
  }
  if (kernel?.state === 'working') {
    return shown('working', working(kernel), kernel.text);
  }
  if (kernel?.state === 'restart-needed') {
    return { ...shown('bad', 'restart needed', kernel.text), needsRestart: true };
  }
  if (kernel?.state === 'other-kernel') {
    return shown('none', 'not this environment’s kernel', kernel.text);
  }
  if (known.failure !== null && known.waitsForRestart) {
    return { ...shown('bad', 'restart needed', known.failure), needsRestart: true };
  }
  if (known.failure !== null) {
    return shown('bad', 'failed', known.failure);
  }
  if (kernel === null && known.kind !== 'ours') {
    return known.kind === 'none' ? NO_KERNEL : NOT_OURS;
  }
  if (server !== null && (kernel === null || isOvertaken(kernel, known))) {
    return ofServer(server);
  }
  return kernel === null ? SILENT : ofKernel(kernel, server);
}

/**
 * Tell whether the server knows better than the kernel.
 *
 * It compares exactly what the kernel only guesses from a few files' times. But that a cell has
 * failed the kernel alone knows, and it holds until something is changed.
 */
function isOvertaken(kernel: IKernelState, { serverIsNewer, isChanged }: IKnown): boolean {
  const isGuess = kernel.state === 'in-sync' || kernel.state === 'stale';
  return serverIsNewer && (isGuess || isChanged);
}

const NO_KERNEL = shown('none', 'no kernel', 'This notebook has no kernel.');
const NOT_OURS = shown(
  'none',
  'not a scriptenv kernel',
  'This kernel does not run in an environment of the notebook’s own. Choose the kernel “Python (scriptenv)”.'
);
const SILENT = shown('none', 'starting', 'The kernel has not yet told how its environment stands.');

function shown(tone: Tone, label: string, text: string): IShown {
  return { tone, label, text, needsRestart: false };
}

function ofKernel(kernel: IKernelState, server: IServerState | null): IShown {
  switch (kernel.state) {
    case 'in-sync':
      return shown('good', 'in sync', kernel.text);
    case 'stale':
      return shown('waiting', pending(server?.changes ?? 0), kernel.text);
    case 'pending':
      return shown('waiting', 'changes wait for a restart', kernel.text);
    case 'failed':
      return shown('bad', 'failed', kernel.text);
    default:
      // A kernel of a later release may know more states than this page.
      return shown('none', kernel.state, kernel.text);
  }
}

function ofServer(server: IServerState): IShown {
  const [tone, label] = SERVER_STATES[server.state] ?? ['waiting', pending(server.changes)];
  return shown(tone, label, server.reason || 'The environment holds what is declared.');
}

function pending(changes: number): string {
  if (changes === 0) {
    return 'changes pending';
  }
  return changes === 1 ? '1 change pending' : `${changes} changes pending`;
}

function working(work: IWork): string {
  return work.of ? `installing ${work.done ?? 0}/${work.of}` : 'working';
}
