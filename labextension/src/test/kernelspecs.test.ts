import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isOfOneSource } from '../kernelspecs.js';

test('the cards of one notebook alone are told from the others', () => {
  assert.ok(isOfOneSource({ isLauncher: true, kernelName: 'scriptenv-planets-0123456789abcdef' }));
  assert.ok(isOfOneSource({ kernelPreference: { name: 'scriptenv-0123456789abcdef' } }));
  for (const args of [{ kernelName: 'scriptenv' }, { kernelName: 'python3' }, {}, undefined]) {
    assert.ok(!isOfOneSource(args));
  }
});
