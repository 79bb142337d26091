/**
 * Blocks of inline script metadata (PEP 723) in the text of a cell.
 *
 * Only where a block stands, and what stands in it as text: what it means is for the server and the
 * kernel to say, which read it with one code.
 */

const OPENING = '# /// script';
const CLOSING = '# ///';
/** The halves of a character that takes two units of a text, such as an emoji. */
const HIGH = /[\ud800-\udbff]/;
const LOW = /[\udc00-\udfff]/;
const ANY_OPENING = /^# \/\/\/ [A-Za-z0-9-]+$/;

/** A block, as it stands in the text of a cell. */
export interface IBlock {
  /** The content: each line without its `# ` (or `#`), ended by a line feed. */
  readonly toml: string;
  /** The opening line, counted from 0. */
  readonly line: number;
  /** The closing line, counted from 0. */
  readonly endLine: number;
}

/** The blocks that a cell has. */
interface IFound {
  readonly blocks: readonly IBlock[];
  /** Whether one is opened before any other and never closed. */
  readonly isUnclosed: boolean;
}

/**
 * Give the block of a code cell; null without one, and where it cannot be told.
 *
 * A cell that begins with a cell magic (`%%`) has none.
 */
export function blockOfCell(source: string): IBlock | null {
  const { blocks, isUnclosed } = blocksOf(source);
  return isUnclosed || blocks.length !== 1 ? null : blocks[0];
}

/** Find the blocks of a cell, by the very rule of the server and the kernel. */
function blocksOf(source: string): IFound {
  const blocks: IBlock[] = [];
  if (!source.includes(OPENING) || source.trimStart().startsWith('%%')) {
    return { blocks, isUnclosed: false };
  }
  const lines = source.replace(/^\ufeff/, '').split(/\r?\n/);
  let line = 0;
  while (line < lines.length) {
    if (!ANY_OPENING.test(lines[line])) {
      line++;
      continue;
    }
    const { end, closing } = runOf(lines, line);
    if (closing === null) {
      if (blocks.length === 0 && lines.slice(line, end).includes(OPENING)) {
        return { blocks, isUnclosed: true };
      }
      line = end;
      continue;
    }
    if (lines[line] === OPENING) {
      const content = lines.slice(line + 1, closing).map(each => `${each.slice(2)}\n`);
      blocks.push({ toml: content.join(''), line, endLine: closing });
    }
    line = closing + 1;
  }
  return { blocks, isUnclosed: false };
}

/**
 * Give the line behind the run of comments that is opened in line `opening`, and its closing line.
 *
 * By PEP 723 that is the last one of the run, unless another block opens below it.
 */
function runOf(
  lines: readonly string[],
  opening: number
): { readonly end: number; readonly closing: number | null } {
  let closing: number | null = null;
  let line = opening + 1;
  for (; line < lines.length; line++) {
    const text = lines[line];
    if (text !== '#' && !text.startsWith('# ')) {
      break;
    }
    if (closing === line - 1 && ANY_OPENING.test(text)) {
      break;
    }
    if (text === CLOSING) {
      closing = line;
    }
  }
  return { end: line, closing };
}

/** A replacement of the characters from `start` to before `end`. */
export interface IReplacement {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * Give the one replacement that makes `after` of `before`, as short as it can be; null if they agree.
 *
 * A cell that is replaced whole would take away the cursors of all who work in it.
 */
export function difference(before: string, after: string): IReplacement | null {
  if (before === after) {
    return null;
  }
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) {
    start++;
  }
  let same = 0;
  while (
    same < shorter - start &&
    before[before.length - 1 - same] === after[after.length - 1 - same]
  ) {
    same++;
  }
  // A character of two units is replaced whole: half of one would be stored as no character at all.
  if (start > 0 && HIGH.test(before[start - 1])) {
    start--;
  }
  if (same > 0 && LOW.test(before[before.length - same])) {
    same--;
  }
  return {
    start,
    end: before.length - same,
    text: after.slice(start, after.length - same)
  };
}

/** A code cell, as far as choosing one needs it. */
export interface ICodeCell {
  /** Place among all cells of the notebook, counted from 0. */
  readonly index: number;
  readonly source: string;
}

/**
 * Choose the cell that an edit of the kernel is for (docs/contract.md, "The front end").
 *
 * @param cells - the notebook's code cells, in order
 * @param before - the text that the cell had when it was executed, or null
 * @param after - the text it is to have: a cell that has it already is the one
 * @param number - the cell's place in the file, counted from 1 over all cells, or null
 * @returns its index, or null where a new first cell is to be made
 */
export function cellToWrite(
  cells: readonly ICodeCell[],
  before: string | null,
  after: string,
  number: number | null
): number | null {
  const same = cells.filter(cell => cell.source === before);
  const found =
    same.find(cell => cell.index + 1 === number) ??
    same[0] ??
    cells.find(cell => cell.source === after) ??
    onlyBlock(cells);
  return found?.index ?? null;
}

/** Say what is wrong with a notebook's blocks, as far as an edit must know it; null if nothing is. */
export function blockProblem(cells: readonly ICodeCell[]): string | null {
  const found = cells.map(cell => blocksOf(cell.source));
  if (found.some(each => each.isUnclosed)) {
    return 'A block is opened and not closed: its last line is missing.';
  }
  const number = found.reduce((sum, each) => sum + each.blocks.length, 0);
  return number > 1 ? 'This notebook has more than one block. Remove all but one.' : null;
}

/** Give the cell with a block, if there is one and no other. */
export function onlyBlock<T extends ICodeCell>(cells: readonly T[]): T | null {
  const found = cells.filter(cell => blocksOf(cell.source).blocks.length > 0);
  return found.length === 1 && blockOfCell(found[0].source) !== null ? found[0] : null;
}

/**
 * Give the beginning of a package's name before the cursor, inside a dependency of a block.
 *
 * @param source - text of the cell
 * @param offset - where the cursor stands
 * @returns the beginning and where it starts; null where no name is typed
 */
export function nameBefore(
  source: string,
  offset: number
): { prefix: string; start: number } | null {
  const block = blockOfCell(source);
  const before = source.slice(0, offset);
  const line = before.split('\n').length - 1;
  if (block === null || line <= block.line || line >= block.endLine) {
    return null;
  }
  const text = before.slice(before.lastIndexOf('\n') + 1);
  // Between an opening quote and the cursor stand only characters of a name: no specifier yet.
  const typed = /(?:^#[^"']*|,\s*|\[\s*)["']([A-Za-z0-9][A-Za-z0-9._-]*)$/.exec(text);
  if (typed === null || !isInDependencies(block, line - block.line - 1, text)) {
    return null;
  }
  return { prefix: typed[1], start: offset - typed[1].length };
}

/** Tell whether a line of a block's TOML stands in the array of its dependencies. */
function isInDependencies(block: IBlock, line: number, text: string): boolean {
  const above = block.toml.split('\n').slice(0, line);
  const key = /^\s*dependencies\s*=\s*\[/;
  if (key.test(text.slice(2))) {
    return true;
  }
  for (const each of above.reverse()) {
    if (key.test(each)) {
      return true;
    }
    // A closing bracket at the end of a line, or another key: the array is over.
    if (/^\s*\]|^\s*[\w.-]+\s*=|^\s*\[/.test(each)) {
      return false;
    }
  }
  return false;
}
