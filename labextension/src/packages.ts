/** Who brought which package: from what each requires and is required by. */

import type { IPackage } from './answers.js';

/** Give the name of a distribution in the one spelling that compares equal (PEP 503). */
export function normalized(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, '-');
}

/** Give the name in front of a requirement, such as `numpy` of `numpy>=2; python_version>"3"`. */
export function nameOf(requirement: string): string {
  return /^\s*([A-Za-z0-9][A-Za-z0-9._-]*)/.exec(requirement)?.[1] ?? requirement.trim();
}

/**
 * Give, for each package, the declared ones that brought it: sorted, empty for a declared one.
 *
 * A package that nobody requires and nobody declared (installed by hand) has none either.
 */
export function bringers(packages: readonly IPackage[]): ReadonlyMap<string, readonly string[]> {
  const byName = indexed(packages);
  const found = new Map<string, Set<string>>();
  for (const root of packages.filter(each => each.declared)) {
    const waiting = [root];
    const seen = new Set([root.name]);
    for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
      for (const child of childrenOf(each, byName)) {
        if (!seen.has(child.name)) {
          seen.add(child.name);
          found.set(child.name, (found.get(child.name) ?? new Set()).add(root.name));
          waiting.push(child);
        }
      }
    }
  }
  return new Map(
    packages.map(each => [each.name, each.declared ? [] : [...(found.get(each.name) ?? [])].sort()])
  );
}

/** The tree of what requires what; a branch is made when it is looked at, for it can be large. */
export class PackageTree {
  constructor(packages: readonly IPackage[]) {
    this._byName = indexed(packages);
    const brought = bringers(packages);
    this.roots = packages.filter(each => each.declared || brought.get(each.name)?.length === 0);
  }

  /** What is declared, and beside it what none of the declared packages brought. */
  readonly roots: readonly IPackage[];

  /**
   * Give what a package requires.
   *
   * @param above - names of the packages above it: the tree ends where it would go round
   */
  below(item: IPackage, above: readonly string[]): readonly IPackage[] {
    return childrenOf(item, this._byName).filter(
      child => child.name !== item.name && !above.includes(child.name)
    );
  }

  private readonly _byName: ReadonlyMap<string, IPackage>;
}

/** Keep the packages that a filter's words are part of, by name or by who brought them. */
export function filtered(
  packages: readonly IPackage[],
  words: string,
  brought: ReadonlyMap<string, readonly string[]>
): readonly IPackage[] {
  const wanted = words.trim().toLowerCase();
  const names = (each: IPackage): string[] => [each.name, ...(brought.get(each.name) ?? [])];
  return packages.filter(each => names(each).some(name => name.toLowerCase().includes(wanted)));
}

/** Give a number of bytes for people: `80 KB`, `1.2 GB`. */
export function sizeText(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

function indexed(packages: readonly IPackage[]): ReadonlyMap<string, IPackage> {
  return new Map(packages.map(each => [normalized(each.name), each]));
}

function childrenOf(item: IPackage, byName: ReadonlyMap<string, IPackage>): IPackage[] {
  return item.requires.flatMap(name => byName.get(normalized(name)) ?? []);
}
