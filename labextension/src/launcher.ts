/** The plugin that keeps the launcher clean: the kernels of single notebooks get no cards. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ILauncher } from '@jupyterlab/launcher';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { isOfOneSource } from './kernelspecs.js';
import { PLUGIN } from './tokens.js';

/** Hides the cards; the kernels stay in the kernel picker. */
export const launcher: JupyterFrontEndPlugin<void> = {
  id: 'ipy-scriptenv:launcher',
  description: 'Hides the kernels of single notebooks in the launcher.',
  autoStart: true,
  optional: [ILauncher, ISettingRegistry], // Notebook 7 has no launcher
  activate: (
    app: JupyterFrontEnd,
    model: ILauncher | null,
    registry: ISettingRegistry | null
  ): void => {
    let isHiding = true;
    const isHidden = (args: unknown): boolean => isHiding && isOfOneSource(args);
    const draw = model === null ? () => undefined : filterCards(model, isHidden);
    filterMenu(app, isHidden);
    void registry?.load(PLUGIN).then(settings => {
      const read = (): void => {
        isHiding = settings.get('hideInLauncher').composite !== false;
        draw();
      };
      settings.changed.connect(read);
      read();
    });
  }
};

/**
 * Leave cards out of the launcher; gives what draws it anew.
 *
 * They are asked for at each drawing, so it does not matter who came first: this plugin or those
 * that add the cards.
 */
function filterCards(model: ILauncher, isHidden: (args: unknown) => boolean): () => void {
  const cards = model as ILauncher.IModel;
  if (typeof cards.items !== 'function') {
    return () => undefined; // another launcher, with a model of its own
  }
  const original = cards.items;
  cards.items = function* () {
    for (const item of original.call(cards)) {
      if (!isHidden(item.args)) {
        yield item;
      }
    }
  };
  const draw = (): void => (cards.stateChanged as unknown as { emit(_: void): void }).emit();
  draw();
  return draw;
}

/** Leave them out of the menu *New* of Notebook 7 too: it asks each command whether it is seen. */
function filterMenu(app: JupyterFrontEnd, isHidden: (args: unknown) => boolean): void {
  const { commands } = app;
  const original = commands.isVisible;
  commands.isVisible = (id, args) =>
    !(id === 'notebook:create-new' && isHidden(args)) && original.call(commands, id, args);
}
