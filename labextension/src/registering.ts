/** The plugin that keeps notebooks' own kernels in the kernel picker, or out of it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import type { NotebookEnvironment } from './environment.js';
import type { Environments } from './environments.js';
import { IEnvironments, PLUGIN } from './tokens.js';

/** Follows the setting `register`, for the notebooks that are open. */
export const registering: JupyterFrontEndPlugin<void> = {
  id: 'ipy-scriptenv:registering',
  description: 'Keeps notebooks’ own kernels in the kernel picker, or out of it.',
  autoStart: true,
  requires: [IEnvironments, ISettingRegistry],
  activate: (_: JupyterFrontEnd, environments: Environments, registry: ISettingRegistry): void => {
    void registry.load(PLUGIN).then(settings => {
      let isWanted = settings.get('register').composite !== false;
      const watch = (each: NotebookEnvironment): void =>
        void each.changed.connect(() => isWanted || withdraw(each));
      environments.all.forEach(watch);
      environments.opened.connect((_, panel) => watch(environments.of(panel)));
      settings.changed.connect(() => {
        const wasWanted = isWanted;
        tried.clear();
        isWanted = settings.get('register').composite !== false;
        // One that was taken out by itself stays out, until the setting is switched on again.
        environments.all.forEach(each => {
          if (!isWanted) {
            withdraw(each);
          } else if (!wasWanted && isStanding(each) && each.info?.status.kernelspec === null) {
            void each.register(true).catch(() => undefined);
          }
        });
      });
    });
  }
};

/** What was tried already: a server that refuses is not asked at every change. */
const tried = new Set<string>();

/** Take a notebook's kernel out of the picker, unless the notebook itself names it. */
function withdraw(each: NotebookEnvironment): void {
  const name = each.info?.status.kernelspec ?? null;
  const isUsed = each.session.session?.kernel?.name === name;
  const key = `${each.id} ${name}`;
  const isFree = isStanding(each) && each.operation?.isRunning !== true;
  if (name !== null && !isUsed && isFree && !tried.has(key)) {
    tried.add(key);
    void each.register(false).catch(() => undefined);
  }
}

function isStanding(each: NotebookEnvironment): boolean {
  return each.info !== null && each.info.status.environment !== null;
}
