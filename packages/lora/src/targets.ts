import { LftError, type ModuleSite, nearestName } from '@lft/core';
import type { ResolvedLoraOptions } from './options.js';

/** What a matching rule needs to know of a module. */
export type SiteShape = Pick<ModuleSite, 'path' | 'kind' | 'role' | 'in' | 'out' | 'bias'>;

/** What is done at a module: an update of low rank, full training, or nothing. */
export type Treatment = 'lora' | 'saved' | undefined;

const fullMatch = (pattern: string, path: string) => new RegExp(`^(?:${pattern})$`).test(path);
const entryMatches = (entry: string, path: string) => path === entry || path.endsWith(`.${entry}`);
const canCarryLora = (site: SiteShape) => site.kind === 'linear' || site.kind === 'embedding';

// The rules below are those of peft (tuners_utils.check_target_module_exists and other.get_pattern_key), so that PEFT picks the same
// modules from the adapter_config.json that is written here.

/** Number of the block that a path lies in: its first number, or the first after the name of the list. */
function blockOf(path: string, pattern: string | readonly string[] | undefined): number | undefined {
  const lists =
    pattern === undefined || pattern.length === 0 ? undefined : typeof pattern === 'string' ? [pattern] : pattern;
  const expressions = lists
    ? lists.map((list) => `(?:^|^.*?\\.)(?:${list})\\.(\\d+)\\.`)
    : ['^.*?\\.[^.]*\\.(\\d+)\\.'];
  for (const expression of expressions) {
    // The last group is the number: the pattern may bring groups of its own.
    const match = new RegExp(expression).exec(path);
    if (match) return Number(match.at(-1));
  }
  return undefined;
}

function isExcluded({ exclude }: ResolvedLoraOptions, path: string): boolean {
  if (exclude === undefined) return false;
  return typeof exclude === 'string' ? fullMatch(exclude, path) : exclude.some((entry) => entryMatches(entry, path));
}

function isTargeted({ targets, blocks, blockPattern }: ResolvedLoraOptions, site: SiteShape): boolean {
  // A path that is given in full is meant, whatever the blocks: only names are narrowed to blocks.
  if (Array.isArray(targets) && targets.includes(site.path)) return true;
  const named =
    targets === 'all-linear'
      ? site.kind === 'linear' && site.role !== 'head'
      : typeof targets === 'string'
        ? fullMatch(targets, site.path)
        : targets.some((entry) => entryMatches(entry, site.path));
  if (!named || blocks === undefined) return named;
  const block = blockOf(site.path, blockPattern);
  return block !== undefined && blocks.includes(block);
}

/** What the options ask for at a site. Modules to save are never adapted. */
export function treatment(options: ResolvedLoraOptions, site: SiteShape): Treatment {
  if (site.kind !== 'sublayer' && options.modulesToSave?.some((name) => site.path.endsWith(name))) return 'saved';
  if (!canCarryLora(site) || isExcluded(options, site.path)) return undefined;
  return isTargeted(options, site) ? 'lora' : undefined;
}

/** The value of the first pattern that matches the whole path, or its end after a dot. */
function patternValue(patterns: Readonly<Record<string, number>>, path: string): number | undefined {
  for (const [pattern, value] of Object.entries(patterns)) {
    if (new RegExp(`^(?:.*\\.)?(?:${pattern})$`).test(path)) return value;
  }
  return undefined;
}

/** Rank and alpha at a module. */
export function strength(options: ResolvedLoraOptions, path: string): { rank: number; alpha: number } {
  return {
    rank: patternValue(options.rankPattern, path) ?? options.rank,
    alpha: patternValue(options.alphaPattern, path) ?? options.alpha,
  };
}

/**
 * Checks that the options fit a model: every name matches something, and no rank is larger than its module allows.
 * @throws LftError target-not-found, rank-too-large
 */
export function checkTargets(options: ResolvedLoraOptions, sites: readonly SiteShape[]): void {
  const adaptable = sites.filter(canCarryLora);
  checkNames('targets', options.targets === 'all-linear' ? '.*' : options.targets, adaptable, sites);
  if (options.exclude !== undefined) checkNames('exclude', options.exclude, adaptable, sites);
  for (const name of options.modulesToSave ?? []) {
    const found = sites.some((site) => site.kind !== 'sublayer' && site.path.endsWith(name));
    if (!found) throw notFound('modulesToSave', name, sites);
  }

  const adapted = sites.filter((site) => treatment(options, site) === 'lora');
  for (const block of options.blocks ?? []) {
    if (sites.some((site) => blockOf(site.path, options.blockPattern) === block)) continue;
    throw new LftError('target-not-found', `blocks: the model has no block ${block}. It has ${describeSites(sites)}`, {
      block,
    });
  }
  if (adapted.length === 0) {
    throw new LftError(
      'target-not-found',
      `nothing is left to adapt: ${JSON.stringify(options.targets)} without ${describeFilters(options)}. The model has ${describeSites(adaptable)}`,
      { targets: options.targets, exclude: options.exclude, blocks: options.blocks },
    );
  }
  for (const [option, patterns] of Object.entries({
    rankPattern: options.rankPattern,
    alphaPattern: options.alphaPattern,
  })) {
    for (const pattern of Object.keys(patterns)) {
      if (adapted.some((site) => patternValue({ [pattern]: 1 }, site.path) !== undefined)) continue;
      throw notFound(option, pattern, adapted);
    }
  }
  for (const site of adapted) {
    const { rank } = strength(options, site.path);
    const most = Math.min(site.in, site.out);
    if (rank <= most) continue;
    const name = leaf(site.path);
    throw new LftError(
      'rank-too-large',
      `rank ${rank} is larger than ${name} allows (min(in ${site.in}, out ${site.out}) = ${most}, at ${site.path}): lower rank, or give it a rank of its own with rankPattern: { ${name}: ${most} }`,
      { path: site.path, rank, in: site.in, out: site.out },
    );
  }
}

function checkNames(
  option: string,
  entries: string | readonly string[],
  adaptable: readonly SiteShape[],
  sites: readonly SiteShape[],
): void {
  if (typeof entries === 'string') {
    if (adaptable.some((site) => fullMatch(entries, site.path))) return;
    const named = adaptable.find((site) => leaf(site.path) === entries);
    const remedy = named ? `; for a name give a list: ["${entries}"]` : '';
    throw new LftError(
      'target-not-found',
      `${option}: the regular expression "${entries}" matches no whole path such as ${adaptable[0]?.path}${remedy}. The model has ${describeSites(adaptable)}`,
      { option, entry: entries },
    );
  }
  for (const entry of entries) {
    if (adaptable.some((site) => entryMatches(entry, site.path))) continue;
    const other = sites.find((site) => entryMatches(entry, site.path));
    if (!other) throw notFound(option, entry, adaptable);
    throw new LftError(
      'target-not-found',
      `${option}: "${entry}" (${other.kind}, ${other.path}) cannot carry LoRA, which works on linear and embedding modules${other.kind === 'norm' ? '; to train it in full, name it in modulesToSave' : ''}. The model has ${describeSites(adaptable)}`,
      { option, entry, path: other.path },
    );
  }
}

function notFound(option: string, entry: string, sites: readonly SiteShape[]): LftError {
  const candidates = entry.includes('.') ? sites.map((site) => site.path) : sites.map((site) => leaf(site.path));
  const near = nearestName(entry, new Set(candidates));
  return new LftError(
    'target-not-found',
    `${option}: no module matches "${entry}"${near ? `: did you mean "${near}"?` : '.'} The model has ${describeSites(sites)}`,
    { option, entry, nearest: near, there: [...new Set(sites.map((site) => leaf(site.path)))] },
  );
}

function describeFilters({ exclude, blocks }: ResolvedLoraOptions): string {
  const filters = [
    exclude && `exclude ${JSON.stringify(exclude)}`,
    blocks && `outside blocks ${JSON.stringify(blocks)}`,
  ];
  return filters.filter(Boolean).join(', ') || 'the modules to save';
}

/** Last part of a path: `q_proj`. */
export function leaf(path: string): string {
  return path.slice(path.lastIndexOf('.') + 1);
}

/** `q_proj, v_proj in model.layers.0-4; model.embed_tokens; lm_head` */
function describeSites(sites: readonly SiteShape[]): string {
  const lists = new Map<string, { names: Set<string>; blocks: Set<number> }>();
  const others: string[] = [];
  for (const { path, kind } of sites) {
    if (kind === 'sublayer') continue;
    const match = /^(.*?\.[^.]*)\.(\d+)\./.exec(path);
    if (!match) {
      others.push(path);
      continue;
    }
    const list = lists.get(match[1]!) ?? { names: new Set(), blocks: new Set() };
    lists.set(match[1]!, list);
    list.names.add(leaf(path));
    list.blocks.add(Number(match[2]));
  }
  const grouped = [...lists].map(([list, { names, blocks }]) => {
    const [first, last] = [Math.min(...blocks), Math.max(...blocks)];
    return `${[...names].join(', ')} in ${list}.${first === last ? first : `${first}-${last}`}`;
  });
  return [...grouped, ...others].join('; ');
}
