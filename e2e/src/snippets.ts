/** A fenced block of a Markdown file. */
export interface Fence {
  /** What stands behind the three backticks: `ts`, `ts ignore`, `ts title="finetune.ts"`. */
  readonly info: string;
  /** Line of the opening fence, from 1. */
  readonly line: number;
  readonly text: string;
}

/** The fenced blocks of a Markdown text, in order. */
export function fences(markdown: string): Fence[] {
  const found: Fence[] = [];
  let open: { info: string; line: number; text: string[] } | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    if (!line.startsWith('```')) open?.text.push(line);
    else if (open) {
      found.push({ ...open, text: `${open.text.join('\n')}\n` });
      open = undefined;
    } else open = { info: line.slice(3).trim(), line: index + 1, text: [] };
  }
  return found;
}

/** Whether a block is a program: TypeScript that is not marked `ignore`. */
export function isRunnable({ info }: Fence): boolean {
  const words = info.split(/\s+/);
  return words[0] === 'ts' && !words.includes('ignore');
}
