/** The kernel of a notebook: into its own environment, and out of the way. */

import type { ISessionContext } from '@jupyterlab/apputils';

/** The kernelspec that any notebook can name. */
const GENERIC = 'scriptenv';

/** Tell whether the kernel of a notebook's own environment could be chosen. */
export function hasGeneric(session: ISessionContext): boolean {
  return session.specsManager.specs?.kernelspecs[GENERIC] !== undefined;
}

/** Have a notebook run in its own environment; another kernel is shut down. */
export async function startGeneric(session: ISessionContext): Promise<void> {
  await session.changeKernel({ name: GENERIC });
}

/** Do something while a notebook has no kernel, then give it the same kernel anew. */
export async function withoutKernel(
  session: ISessionContext,
  work: () => Promise<void>
): Promise<void> {
  const name = session.session?.kernel?.name ?? GENERIC;
  await session.shutdown();
  try {
    await work();
  } finally {
    await session.changeKernel({ name });
  }
}
