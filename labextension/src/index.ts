/** A notebook's environment in JupyterLab and Notebook: one plugin for each place where it shows. */

import { completion } from './completion.js';
import { launcher } from './launcher.js';
import { environments, status } from './notebooks.js';
import { registering } from './registering.js';
import { sidebar } from './sidebar.js';

export default [environments, status, sidebar, completion, launcher, registering];
