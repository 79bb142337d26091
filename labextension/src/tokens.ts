/** What the plugins of this extension share. */

import { Token } from '@lumino/coreutils';

import type { Environments } from './environments.js';

/** The id of the main plugin; its settings are those of the whole extension. */
export const PLUGIN = 'ipy-scriptenv:plugin';

/** The environments of the notebooks that are open. */
export const IEnvironments = new Token<Environments>(
  'ipy-scriptenv:IEnvironments',
  'The environments of the notebooks that are open.'
);

/** The commands of this extension. */
export const Commands = {
  open: 'scriptenv:open',
  sync: 'scriptenv:sync',
  lock: 'scriptenv:lock',
  upgrade: 'scriptenv:upgrade',
  rebuild: 'scriptenv:rebuild',
  cancel: 'scriptenv:cancel',
  reveal: 'scriptenv:reveal-block'
} as const;
