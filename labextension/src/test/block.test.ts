import assert from 'node:assert/strict';
import { test } from 'node:test';

import { blockOfCell, blockProblem, cellToWrite, difference, nameBefore } from '../block.js';

const BLOCK = '# /// script\n# dependencies = ["alpha"]\n# ///';

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
