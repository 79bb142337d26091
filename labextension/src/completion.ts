/** The plugin that completes names of packages inside a notebook's block. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import {
  ICompletionProviderManager,
  type CompletionHandler,
  type ICompletionContext,
  type ICompletionProvider
} from '@jupyterlab/completer';

import { nameBefore } from './block.js';
import { namesWith } from './rest.js';

/** Names of packages that are known on this machine. */
class PackageNames implements ICompletionProvider {
  readonly identifier = 'ipy-scriptenv:packages';
  readonly rank = 1100; // before the kernel, which knows nothing of comments
  readonly renderer = null;

  async isApplicable({ editor }: ICompletionContext): Promise<boolean> {
    if (!editor) {
      return false;
    }
    const offset = editor.getOffsetAt(editor.getCursorPosition());
    return nameBefore(editor.model.sharedModel.getSource(), offset) !== null;
  }

  async fetch(
    request: CompletionHandler.IRequest
  ): Promise<CompletionHandler.ICompletionItemsReply> {
    const typed = nameBefore(request.text, request.offset);
    const names = typed === null ? [] : await namesWith(typed.prefix).catch(() => []);
    const start = typed?.start ?? request.offset;
    return {
      start,
      end: request.offset,
      items: names.map(name => ({ label: name, insertText: name, type: 'package' }))
    };
  }
}

/** Completes names of packages inside the block. */
export const completion: JupyterFrontEndPlugin<void> = {
  id: 'ipy-scriptenv:completion',
  description: 'Completes names of packages inside a notebook’s block.',
  autoStart: true,
  requires: [ICompletionProviderManager],
  activate: (_: JupyterFrontEnd, manager: ICompletionProviderManager): void => {
    manager.registerProvider(new PackageNames());
  }
};
