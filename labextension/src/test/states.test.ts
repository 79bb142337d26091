import assert from 'node:assert/strict';
import { test } from 'node:test';

import { shownState, type IKnown } from '../states.js';

const NOTHING: IKnown = {
  kind: 'ours',
  kernel: null,
  server: null,
  serverIsNewer: false,
  isChanged: false,
  work: null,
  failure: null,
  waitsForRestart: false
};

function kernel(
  state: string,
  done: number | null = null,
  of: number | null = null
): Partial<IKnown> {
  return { kernel: { state, text: `It is ${state}.`, done, of } };
}

function label(known: Partial<IKnown>): string {
  return shownState({ ...NOTHING, ...known }).label;
}

test('each state of a kernel has its words', () => {
  assert.equal(label({}), 'starting');
  assert.equal(label({ kind: 'other' }), 'not a scriptenv kernel');
  assert.equal(label({ kind: 'none' }), 'no kernel');
  assert.equal(label({ kind: 'other', ...kernel('in-sync') }), 'in sync');
  assert.equal(label(kernel('in-sync')), 'in sync');
  assert.equal(label(kernel('stale')), 'changes pending');
  assert.equal(label(kernel('pending')), 'changes wait for a restart');
  assert.equal(label(kernel('working')), 'working');
  assert.equal(label(kernel('working', 12, 40)), 'installing 12/40');
  assert.equal(label(kernel('failed')), 'failed');
  assert.equal(label(kernel('restart-needed')), 'restart needed');
  assert.equal(label(kernel('other-kernel')), 'not this environment’s kernel');
});

test('the server counts what the kernel cannot', () => {
  const server = { state: 'stale', reason: '', changes: 3 };
  assert.equal(label({ ...kernel('stale'), server }), '3 changes pending');
  assert.equal(label({ server: { ...server, changes: 1 } }), '1 change pending');
});

test('who has told last is believed, but a restart that is needed stays', () => {
  const server = { state: 'in-sync', reason: '', changes: 0 };
  assert.equal(label({ ...kernel('stale'), server, serverIsNewer: true }), 'in sync');
  assert.equal(label({ ...kernel('in-sync'), server: { ...server, state: 'stale' } }), 'in sync');
  assert.equal(
    label({ ...kernel('restart-needed'), server, serverIsNewer: true }),
    'restart needed'
  );
  assert.equal(label({ ...kernel('failed'), server, serverIsNewer: true }), 'failed');
  const changed = { ...kernel('failed'), server, serverIsNewer: true, isChanged: true };
  assert.equal(label(changed), 'in sync');
});

test('work that goes on is shown before all, a failure after it', () => {
  const work = { text: 'Downloading', done: 1, of: 2 };
  assert.equal(label({ ...kernel('failed'), work }), 'installing 1/2');
  assert.equal(label({ ...kernel('in-sync'), failure: 'No.' }), 'failed');
  const failure = 'A kernel has imported numpy.';
  assert.equal(label({ failure, waitsForRestart: true }), 'restart needed');
});
