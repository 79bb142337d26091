/** The plugins that show a notebook's environment in its panel and in the status bar. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IToolbarWidgetRegistry } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';

import { restartBanner } from './banner.js';
import { HeaderKeeper } from './cellheader.js';
import { Environments } from './environments.js';
import { statusIndicator, toolbarIndicator } from './indicator.js';
import { Commands, IEnvironments, PLUGIN } from './tokens.js';

/** Follows the notebooks that are open, and talks with their kernels. */
export const environments: JupyterFrontEndPlugin<Environments> = {
  id: PLUGIN,
  description: 'Shows and changes the environment that a notebook runs in.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [IToolbarWidgetRegistry],
  provides: IEnvironments,
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    toolbars: IToolbarWidgetRegistry | null
  ): Environments => {
    const all = new Environments(tracker, app.serviceManager.events);
    const open = (): void => void app.commands.execute(Commands.open);
    toolbars?.addFactory<NotebookPanel>('Notebook', 'scriptenv', panel =>
      toolbarIndicator(all.of(panel), open)
    );
    const decorate = (panel: NotebookPanel): void => {
      panel.contentHeader.addWidget(restartBanner(all.of(panel)));
      const keeper = new HeaderKeeper(all.of(panel), open);
      panel.disposed.connect(() => keeper.dispose());
    };
    tracker.forEach(decorate);
    tracker.widgetAdded.connect((_, panel) => decorate(panel));
    return all;
  }
};

/** Shows the state of the notebook in front in the status bar. */
export const status: JupyterFrontEndPlugin<void> = {
  id: 'ipy-scriptenv:status',
  description: 'Shows the state of the notebook’s environment in the status bar.',
  autoStart: true,
  requires: [IEnvironments],
  optional: [IStatusBar], // Notebook 7 may have none
  activate: (app: JupyterFrontEnd, all: Environments, bar: IStatusBar | null): void => {
    bar?.registerStatusItem('ipy-scriptenv:status', {
      item: statusIndicator(all, () => void app.commands.execute(Commands.open)),
      align: 'left',
      rank: 3,
      isActive: () => all.current !== null,
      activeStateChanged: all.currentChanged as never
    });
  }
};
