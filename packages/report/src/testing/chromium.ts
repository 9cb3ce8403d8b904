import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { PNG } from 'pngjs';

/** A browser to look at reports with, where there is one. */
export const CHROMIUM = [process.env.LFT_CHROMIUM, '/usr/bin/chromium'].find(
  (path) => path !== undefined && existsSync(path),
);

/** What a reader sees of a page. */
export interface View {
  readonly picture: PNG;
  /** Width that the page takes, and that it has. */
  readonly width: { readonly taken: number; readonly there: number };
  readonly charts: readonly {
    readonly id: string;
    readonly box: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
    /** Pairs of labels that lie over each other. */
    readonly overlaps: readonly string[];
    /** Labels that reach out of the drawing. */
    readonly cut: readonly string[];
  }[];
}

/** Measures the visible charts of the page. Runs in the browser. */
const MEASURE = `<script>addEventListener('load',()=>{
const charts=[...document.querySelectorAll('figure svg')].filter((svg)=>svg.getBoundingClientRect().width>0).map((svg)=>{
  const {x,y,width,height,right,bottom}=svg.getBoundingClientRect();
  const labels=[...svg.querySelectorAll('text')].map((text)=>({text:text.textContent,box:text.getBoundingClientRect()}));
  const overlaps=labels.flatMap((a,i)=>labels.slice(i+1).filter((b)=>
    Math.min(a.box.right,b.box.right)-Math.max(a.box.x,b.box.x)>1&&Math.min(a.box.bottom,b.box.bottom)-Math.max(a.box.y,b.box.y)>4).map((b)=>a.text+' / '+b.text));
  const cut=labels.filter(({box})=>box.x<x-1||box.right>right+1||box.y<y-2||box.bottom>bottom+1).map(({text})=>text);
  return {id:svg.querySelector('title').id,box:{x,y,width,height},overlaps,cut};
});
const out=document.createElement('script');out.type='application/json';out.id='measured';
out.textContent=JSON.stringify({width:{taken:document.documentElement.scrollWidth,there:innerWidth},charts});
document.body.append(out);
})</script>`;

/** Opens a page without a window, looks at it and measures it. @param options.out keeps the picture there */
export async function view(
  page: string,
  { width, height, dark = false, out }: { width: number; height: number; dark?: boolean; out?: string | undefined },
): Promise<View> {
  const scratch = await mkdtemp(join(tmpdir(), 'lft-chromium-'));
  const measured = join(scratch, 'page.html');
  const picture = out ?? join(scratch, 'page.png');
  try {
    await writeFile(measured, (await readFile(page, 'utf8')).replace('</body>', `${MEASURE}</body>`));
    const { stdout } = await promisify(execFile)(
      CHROMIUM!,
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--hide-scrollbars',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-quic',
        '--disable-component-update',
        '--disable-sync',
        `--user-data-dir=${join(scratch, 'profile')}`,
        `--window-size=${width},${height}`,
        `--blink-settings=preferredColorScheme=${dark ? 0 : 1}`,
        `--screenshot=${picture}`,
        '--dump-dom',
        pathToFileURL(measured).href,
      ],
      { timeout: 90_000, maxBuffer: 1 << 26 },
    );
    const json = /id="measured">(.*?)<\/script>/s.exec(stdout)?.[1];
    if (json === undefined) throw new Error(`the browser measured nothing:\n${stdout.slice(-500)}`);
    return { picture: PNG.sync.read(await readFile(picture)), ...JSON.parse(json) };
  } finally {
    await rm(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** How much is drawn in a part of a picture: its number of colours, and the share of pixels that differ from the commonest one. */
export function drawn(
  picture: PNG,
  box: { x: number; y: number; width: number; height: number },
): { colors: number; share: number } {
  const counts = new Map<number, number>();
  const [left, top] = [Math.ceil(box.x), Math.ceil(box.y)];
  const [right, bottom] = [Math.floor(box.x + box.width), Math.floor(box.y + box.height)];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const color = picture.data.readUInt32BE(4 * (y * picture.width + x));
      counts.set(color, (counts.get(color) ?? 0) + 1);
    }
  }
  const all = (right - left) * (bottom - top);
  return { colors: counts.size, share: 1 - Math.max(...counts.values()) / all };
}
