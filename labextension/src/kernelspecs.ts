/** Which kernelspecs are for one notebook or script alone. */

const OWN = /^scriptenv-/;

/**
 * Tell whether a launcher's card would start the kernel of one source.
 *
 * @param args - of the card's command: a notebook names the kernel itself, a console prefers one
 */
export function isOfOneSource(args: unknown): boolean {
  const named = (args ?? {}) as { kernelName?: unknown; kernelPreference?: { name?: unknown } };
  const name = named.kernelName ?? named.kernelPreference?.name;
  return typeof name === 'string' && OWN.test(name);
}
