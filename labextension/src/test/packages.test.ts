import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { IPackage } from '../answers.js';
import { bringers, filtered, nameOf, PackageTree, sizeText } from '../packages.js';

function item(name: string, requires: string[] = [], declared = false): IPackage {
  return { name, version: '1.0', declared, requires, required_by: [] };
}

const PACKAGES = [
  item('pandas', ['numpy', 'python-dateutil'], true),
  item('matplotlib', ['NumPy', 'pillow'], true),
  item('numpy'),
  item('pillow', ['circle']),
  item('circle', ['pillow']),
  item('python_dateutil'),
  item('by-hand')
];

test('each package is told with the declared ones that brought it', () => {
  const brought = bringers(PACKAGES);
  assert.deepEqual(brought.get('numpy'), ['matplotlib', 'pandas']);
  assert.deepEqual(brought.get('circle'), ['matplotlib']);
  assert.deepEqual(brought.get('python_dateutil'), ['pandas']);
  assert.deepEqual(brought.get('pandas'), []);
  assert.deepEqual(brought.get('by-hand'), []);
});

test('the tree stands below the declared ones, and ends where it would go round', () => {
  const tree = new PackageTree(PACKAGES);
  const text = (each: IPackage, above: readonly string[] = []): string => {
    const below = tree.below(each, above).map(child => text(child, [...above, each.name]));
    return each.name + (below.length ? `(${below.join(' ')})` : '');
  };
  assert.deepEqual(
    tree.roots.map(each => text(each)),
    ['pandas(numpy python_dateutil)', 'matplotlib(numpy pillow(circle))', 'by-hand']
  );
});

test('the filter finds names, and what a name has brought', () => {
  const names = (words: string): string[] =>
    filtered(PACKAGES, words, bringers(PACKAGES)).map(each => each.name);
  assert.deepEqual(names('PAN'), ['pandas', 'numpy', 'python_dateutil']);
  assert.equal(names('').length, PACKAGES.length);
  assert.deepEqual(names('nothing'), []);
});

test('a requirement begins with its name, and sizes are for people', () => {
  assert.equal(nameOf(' numpy[extra] >= 2'), 'numpy');
  assert.equal(nameOf('a.b-c @ https://x'), 'a.b-c');
  assert.deepEqual([999, 80_000, 1_240_000_000].map(sizeText), ['999 bytes', '80.0 KB', '1.2 GB']);
});
