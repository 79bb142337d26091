import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { blockOfCell, blockProblem, cellToWrite, difference, nameBefore } from '../block.js';

const BLOCK = '# /// script\n# dependencies = ["alpha"]\n# ///';

/** A text, and what reading it must give: the very cases that the server and the kernel are held to. */
interface ICase {
  readonly id: string;
  readonly text: string;
  readonly expect: { readonly toml?: string | null; readonly error?: string };
}

test('a text is read as the server and the kernel read it', () => {
  const file = new URL('../../../tests/cases/pep723.json', import.meta.url);
  const cases = (JSON.parse(readFileSync(file, 'utf-8')) as { text: ICase[] }).text;
  assert.ok(cases.length > 20);
  for (const { id, text, expect } of cases) {
    const problem = blockProblem([{ index: 0, source: text }]);
    const expected = { unclosed: /not closed/, duplicate: /more than one/ }[expect.error ?? ''];
    assert.equal(blockOfCell(text)?.toml ?? null, expect.toml ?? null, id);
    assert.match(problem ?? '', expected ?? /^$/, id);
  }
});

test('a block is found beside other code', () => {
  assert.deepEqual(blockOfCell(`import sys\n${BLOCK}\nimport alpha`), {
    toml: 'dependencies = ["alpha"]\n',
    line: 1,
    endLine: 3
  });
});

test('an empty comment inside a block is an empty line', () => {
  assert.equal(
    blockOfCell('# /// script\n#\n# dependencies = []\n# ///')?.toml,
    '\ndependencies = []\n'
  );
});

test('the last closing line of the run closes the block', () => {
  assert.equal(blockOfCell('# /// script\n# a = 1\n# ///\n# b = 2\n# ///')?.endLine, 4);
});

test('a block of another kind, one that is open and one in a cell magic are none', () => {
  for (const source of [
    '# /// other\n# a = 1\n# ///',
    '# /// script\n# a = 1',
    `%%bash\n${BLOCK}`
  ]) {
    assert.equal(blockOfCell(source), null);
  }
});

test('a difference is one short replacement', () => {
  assert.equal(difference('abc', 'abc'), null);
  assert.deepEqual(difference('aXc', 'aYYc'), { start: 1, end: 2, text: 'YY' });
  assert.deepEqual(difference('aa', 'aaa'), { start: 2, end: 2, text: 'a' });
  assert.deepEqual(difference('', 'new'), { start: 0, end: 0, text: 'new' });
  assert.deepEqual(difference('old', ''), { start: 0, end: 3, text: '' });
  // Half of a character would be lost: 😀 and 😁 begin alike, 😀 and 🨀 end alike.
  assert.deepEqual(difference('a😀b', 'a😁b'), { start: 1, end: 3, text: '😁' });
  assert.deepEqual(difference('a😀b', 'a🨀b'), { start: 1, end: 3, text: '🨀' });
});

test('an edit is for the cell that had its text, else the only block, else a new cell', () => {
  const cells = [
    { index: 0, source: 'twice' },
    { index: 2, source: BLOCK },
    { index: 3, source: 'twice' }
  ];
  assert.equal(cellToWrite(cells, BLOCK, 'x', null), 2);
  assert.equal(cellToWrite(cells, 'twice', 'x', 4), 3);
  assert.equal(cellToWrite(cells, 'twice', 'x', null), 0);
  assert.equal(cellToWrite(cells, 'gone', 'x', null), 2);
  assert.equal(cellToWrite(cells, null, 'x', null), 2);
  assert.equal(cellToWrite(cells.slice(0, 1), 'gone', 'x', null), null);
  assert.equal(cellToWrite([...cells, { index: 5, source: BLOCK }], 'gone', 'x', null), null);
});

test('two blocks and an open one are told', () => {
  const problem = (...sources: string[]): string | null =>
    blockProblem(sources.map((source, index) => ({ index, source })));
  assert.equal(problem('1', BLOCK, '%%bash\n# /// script'), null);
  assert.match(problem(BLOCK, BLOCK) ?? '', /more than one/);
  assert.match(problem('# /// script\n# dependencies = []') ?? '', /not closed/);
});

test('a name is completed inside the dependencies alone', () => {
  const source =
    '# /// script\n# dependencies = [\n#     "alpha",\n#     "pan\n# ]\n# name = "pan\n# ///\n"pan';
  const at = (text: string, from = 0): number => source.indexOf(text, from) + text.length;
  assert.deepEqual(nameBefore(source, at('#     "pan')), {
    prefix: 'pan',
    start: at('#     "pan') - 3
  });
  assert.equal(nameBefore(source, at('name = "pan')), null);
  assert.equal(nameBefore(source, source.length), null);
  assert.equal(nameBefore('# /// script\n# dependencies = ["a>=1\n# ///', 36), null);
  assert.deepEqual(nameBefore('# /// script\n# dependencies = ["a", "b\n# ///', 38), {
    prefix: 'b',
    start: 37
  });
});
