import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { IEvent } from '../answers.js';
import { after, BEGUN, logLine, unwrapped, workOf } from '../progress.js';

function following(...events: IEvent[]): ReturnType<typeof workOf> {
  return workOf(events.reduce(after, BEGUN), 'sync');
}

test('downloads are counted until uv resolves anew', () => {
  const events: IEvent[] = [
    { event: 'resolving', text: 'Installing for a.ipynb' },
    { event: 'downloading', name: 'alpha' },
    { event: 'downloading', name: 'beta' },
    { event: 'downloading', name: 'alpha', finished: true }
  ];
  assert.deepEqual(following(...events), {
    text: 'Installing for a.ipynb … 1 of 2 downloaded',
    done: 1,
    of: 2
  });
  const resolved = { event: 'resolving', text: 'resolved 3 packages', packages: 3 };
  assert.equal(following(...events, resolved).of, null);
});

test('who is waited for is named until something goes on', () => {
  const waiting = { event: 'waiting', for: 'process 7' };
  assert.equal(following(waiting).text, 'Waiting for process 7 …');
  assert.equal(following(waiting, { event: 'installing', text: 'Now' }).text, 'Now …');
});

test('what is not known changes nothing', () => {
  assert.equal(following({ event: 'dancing', text: 'x' }).text, 'Completing the environment …');
  assert.equal(workOf(BEGUN, 'delete').text, 'Deleting the environment …');
  assert.equal(logLine({ event: 'dancing' }), null);
  assert.equal(logLine({ event: 'warning', text: 'old' }), 'Warning: old');
});

test('lines that were cut for a terminal are put together again, causes stay apart', () => {
  const words = 'error: No\n  cause: Because a was not\n         found here.\n\nhint: Look.';
  assert.equal(
    unwrapped(words),
    'error: No\n  cause: Because a was not found here.\n\nhint: Look.'
  );
});
