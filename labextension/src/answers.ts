/** What the server answers, as JSON; the fields are those of docs/contract.md. */

/** One thing that is wrong with an input, and where. */
export interface IProblem {
  readonly message: string;
  readonly cell: number | null;
  readonly line: number | null;
  readonly key: string | null;
}

/** An installed package, and who wants it. */
export interface IPackage {
  readonly name: string;
  readonly version: string;
  readonly declared: boolean;
  readonly requires: readonly string[];
  readonly required_by: readonly string[];
}

/** A difference between what the last sync left and what is installed. */
export interface IDrift {
  readonly name: string;
  /** What is installed, or null. */
  readonly version: string | null;
  /** What the last sync left, or null. */
  readonly synced: string | null;
}

/** As `status --json`. */
export interface IStatus {
  readonly source: string;
  readonly state: string;
  readonly reason: string | null;
  readonly environment: {
    readonly name: string;
    readonly path: string;
    readonly python: string;
    readonly python_version: string;
  } | null;
  readonly declared: {
    readonly requires_python: string | null;
    readonly dependencies: readonly string[];
    readonly installed: readonly (string | null)[];
  } | null;
  readonly drift: readonly IDrift[];
  readonly undeclared_imports: readonly { readonly module: string; readonly name: string }[];
  readonly pending: string | boolean | null;
  readonly kernelspec: string | null;
  readonly in_use: unknown;
  readonly warnings: readonly string[];
}

/** All about one document's environment. */
export interface IEnvironment {
  readonly status: IStatus;
  readonly lock: {
    readonly path: string | null;
    readonly embedded: boolean;
    readonly state: 'none' | 'current' | 'stale';
  };
  readonly bytes: number | null;
  readonly packages: readonly IPackage[];
  readonly python: { readonly version: string | null; readonly request: string | null };
  /** The id of the task that works on it, or null. */
  readonly task: string | null;
}

/** One environment of the listing. */
export interface IListed {
  readonly name: string;
  readonly path: string;
  /** Null where a damaged record does not tell it. */
  readonly source: string | null;
  readonly state: string;
  readonly python_version: string | null;
  readonly last_used: string | null;
  readonly in_use: unknown;
  readonly packages: number | null;
  readonly bytes: number | null;
  /** Where the server's contents have it, or null. */
  readonly contents_path: string | null;
}

/** As `list --json`, with totals. */
export interface IListing {
  readonly environments: readonly IListed[];
  readonly totals: { readonly number: number; readonly bytes: number | null };
}

/** A Python that an environment can be made from. */
export interface IPython {
  readonly version: string;
  readonly path: string;
  readonly is_host: boolean;
}

/** Whether a requirement can be read. */
export interface ICheck {
  readonly valid: boolean;
  readonly name: string | null;
  readonly message: string | null;
}

/** An event of a task: those of the kernel's pipe. */
export interface IEvent {
  readonly event: string;
  readonly text?: string;
  readonly name?: string;
  readonly packages?: number;
  readonly finished?: boolean;
  readonly for?: string;
  readonly size?: string;
  readonly result?: unknown;
  readonly error?: {
    readonly code?: string;
    readonly message?: string;
    readonly hint?: string;
    readonly problems?: readonly IProblem[];
    /** Whether the change waits for the kernel's next start. */
    readonly pending?: boolean;
  };
}

/** What an edit's task answers: what the block's cell is to be. Nothing is written or installed. */
export interface IEditResult {
  readonly cell: string;
  readonly before: string | null;
  readonly lock: string | null;
}

/** What `sync` and `upgrade` answer, as far as the document has to hold it. */
export interface ISyncResult {
  /** The lock that the notebook's metadata is to hold from now on, or null. */
  readonly lock: string | null;
}

/** What `lock` answers. */
export interface ILockResult {
  /** The lock that the notebook's metadata is to hold, or null where it stands in a file. */
  readonly text: string | null;
}
