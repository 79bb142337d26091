/** What is installed, and who brought it: as a list to filter, or as a tree. */

import React, { useState } from 'react';

import type { IDrift, IPackage } from '../answers.js';
import { bringers, filtered, PackageTree } from '../packages.js';
import type { IPartProps } from './declared.js';
import { Section } from './section.js';

/** Draw the installed packages. */
export function Installed({
  packages
}: {
  readonly packages: readonly IPackage[];
}): React.JSX.Element {
  const [words, setWords] = useState('');
  const [isTree, setIsTree] = useState(false);
  const brought = bringers(packages);
  const found = filtered(packages, words, brought);
  const tree = new PackageTree(packages);
  return (
    <Section title="Installed" count={packages.length}>
      <div className="jp-scriptenv-row">
        <input
          type="search"
          className="jp-mod-styled jp-scriptenv-input"
          aria-label="Filter the installed packages"
          placeholder="Filter"
          disabled={isTree}
          value={words}
          onChange={event => setWords(event.target.value)}
        />
        <label className="jp-scriptenv-check">
          <input
            type="checkbox"
            checked={isTree}
            onChange={event => setIsTree(event.target.checked)}
          />
          Tree
        </label>
      </div>
      {isTree ? (
        <ul className="jp-scriptenv-list jp-scriptenv-tree" aria-label="Installed packages">
          {tree.roots.map(each => (
            <Branch key={each.name} item={each} above={[]} tree={tree} />
          ))}
        </ul>
      ) : (
        <ul className="jp-scriptenv-list" aria-label="Installed packages">
          {found.map(each => (
            <li key={each.name} className="jp-scriptenv-row">
              <span className="jp-scriptenv-name">{each.name}</span>
              <span className="jp-scriptenv-faint">{each.version}</span>
              <span className="jp-scriptenv-by">
                {broughtText(each, brought.get(each.name) ?? [])}
              </span>
            </li>
          ))}
        </ul>
      )}
      <p className="jp-scriptenv-hint" role="status">
        {!isTree && words && found.length === 0 ? 'No package fits.' : ''}
      </p>
    </Section>
  );
}

/** Draw what is installed and not declared, with what can be done about it. */
export function Drift({ environment, isBusy }: IPartProps): React.JSX.Element | null {
  const drift = environment.info?.status.drift ?? [];
  if (drift.length === 0) {
    return null;
  }
  const quietly = (work: Promise<void>): void => void work.catch(() => undefined);
  return (
    <Section title="Not as declared" count={drift.length}>
      <ul className="jp-scriptenv-list" aria-label="Packages that are not as declared">
        {drift.map(each => (
          <li key={each.name} className="jp-scriptenv-row">
            <span className="jp-scriptenv-name">{each.name}</span>
            <span className="jp-scriptenv-faint">{driftText(each)}</span>
            {each.version !== null && each.synced === null && (
              <button
                type="button"
                className="jp-mod-styled jp-scriptenv-small"
                aria-label={`Record ${each.name} in the block`}
                disabled={isBusy}
                onClick={() => quietly(environment.record(each.name))}
              >
                Record
              </button>
            )}
          </li>
        ))}
      </ul>
      <button
        type="button"
        className="jp-mod-styled jp-scriptenv-small"
        title="Sync: what is not declared is removed, what has changed is put back"
        disabled={isBusy}
        onClick={() => quietly(environment.sync())}
      >
        Remove undeclared
      </button>
    </Section>
  );
}

function Branch(props: {
  readonly item: IPackage;
  readonly above: readonly string[];
  readonly tree: PackageTree;
}): React.JSX.Element {
  const { item, above, tree } = props;
  const [isOpen, setIsOpen] = useState(false);
  const below = tree.below(item, above);
  const line = (
    <>
      <span className="jp-scriptenv-name">{item.name}</span>{' '}
      <span className="jp-scriptenv-faint">{item.version}</span>
    </>
  );
  if (below.length === 0) {
    return <li className="jp-scriptenv-leaf">{line}</li>;
  }
  return (
    <li>
      <details onToggle={event => setIsOpen(event.currentTarget.open)}>
        <summary>{line}</summary>
        <ul className="jp-scriptenv-list">
          {isOpen &&
            below.map(child => (
              <Branch key={child.name} item={child} above={[...above, item.name]} tree={tree} />
            ))}
        </ul>
      </details>
    </li>
  );
}

function broughtText(item: IPackage, brought: readonly string[]): string {
  if (item.declared) {
    return 'declared';
  }
  return brought.length > 0 ? `by ${brought.join(', ')}` : 'not declared';
}

function driftText({ version, synced }: IDrift): string {
  if (version === null) {
    return `gone, was ${synced}`;
  }
  return synced === null ? version : `${version}, was ${synced}`;
}
