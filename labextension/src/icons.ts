/** The icon of an environment, drawn in the colours of JupyterLab's theme. */

import { LabIcon } from '@jupyterlab/ui-components';

/** A package: a box that is bound by a band. */
export const packageIcon = new LabIcon({
  name: 'ipy-scriptenv:package',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <path class="jp-icon3 jp-icon-selectable" fill="#616161"
    d="M12 2 3 6.5v11L12 22l9-4.500v-11L12 2zm0 2.240L17.500 7 15 8.250 9.500 5.500 12 4.240zM7.260 6.620
       12.760 9.370 12 9.760 6.500 7l.760-.380zM5 8.490l6 3v7.770l-6-3V8.490zm8 10.770v-7.770l6-3v7.770l-6 3z"/>
</svg>`
});
