/** The plugin with the side panel and the commands. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';

import type { NotebookEnvironment } from './environment.js';
import type { Environments } from './environments.js';
import { packageIcon } from './icons.js';
import { rebuild } from './panel/operations.js';
import { EnvironmentPanel } from './panel/widget.js';
import { Commands, IEnvironments } from './tokens.js';

const CATEGORY = 'Environment';

/** Shows the panel, and offers what can be done as commands. */
export const sidebar: JupyterFrontEndPlugin<void> = {
  id: 'ipy-scriptenv:panel',
  description: 'The side panel with the environment of the notebook in front.',
  autoStart: true,
  requires: [IEnvironments],
  optional: [ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    environments: Environments,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ): void => {
    const open = (path: string): void => void app.commands.execute('docmanager:open', { path });
    const panel = new EnvironmentPanel(environments, open);
    app.shell.add(panel, 'right', { rank: 650, type: 'Environment' });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(Commands.open, {
      label: 'Show the Notebook’s Environment',
      icon: packageIcon,
      execute: async () => {
        await app.restored; // which opens and closes what was open and closed
        app.shell.activateById(panel.id);
      }
    });
    palette?.addItem({ command: Commands.open, category: CATEGORY });
    addActions(app, environments, palette);
  }
};

function addActions(
  app: JupyterFrontEnd,
  environments: Environments,
  palette: ICommandPalette | null
): void {
  const isIdle = (each: NotebookEnvironment): boolean =>
    each.info !== null && !each.document.isReadOnly && each.operation?.isRunning !== true;
  const actions: readonly [
    string,
    string,
    (each: NotebookEnvironment) => Promise<unknown>,
    (each: NotebookEnvironment) => boolean
  ][] = [
    [Commands.sync, 'Sync the Environment', each => each.sync(), isIdle],
    [Commands.lock, 'Lock the Environment in the Notebook', each => each.lock(true), isIdle],
    [Commands.upgrade, 'Upgrade the Environment', each => each.upgrade(), isIdle],
    [Commands.rebuild, 'Rebuild the Environment', rebuild, isIdle],
    [
      Commands.cancel,
      'Cancel the Operation on the Environment',
      each => each.cancel(),
      each => each.operation?.isRunning === true
    ],
    [
      Commands.reveal,
      'Go to the Notebook’s Block',
      each => each.document.reveal(),
      each => each.document.blockCell !== null
    ]
  ];
  for (const [command, label, act, isPossible] of actions) {
    app.commands.addCommand(command, {
      label,
      isEnabled: () => environments.current !== null && isPossible(environments.current),
      // What fails is shown where the environment is: in the toolbar and in the panel.
      execute: () => environments.current && act(environments.current).catch(() => undefined)
    });
    palette?.addItem({ command, category: CATEGORY });
  }
}
