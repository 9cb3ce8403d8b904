/** Where a unit lies in the picture of a model. */
export interface UnitPlace {
  readonly id: string;
  /** Short, unique among the units of the run: `block 3`, `3.q`, `embedding`. */
  readonly label: string;
  /** Index of the decoder block, or undefined outside the blocks. */
  readonly block: number | undefined;
  /** What it is in its block (`q`, `down`, `q.A`); undefined for a whole block and outside the blocks. */
  readonly module: string | undefined;
}

const OUTSIDE: Readonly<Record<string, string>> = {
  embed_tokens: 'embedding',
  wte: 'embedding',
  wpe: 'positions',
  lm_head: 'head',
  norm: 'final norm',
  ln_f: 'final norm',
};
const NORMS: Readonly<Record<string, string>> = { input_layernorm: 'norm 1', post_attention_layernorm: 'norm 2' };

/** Labels of all units of a run, by id, in the order given. Two units that would share a label keep their full ids. */
export function placeUnits(ids: Iterable<string>): Map<string, UnitPlace> {
  const places = [...new Set(ids)].map(place);
  const uses = new Map<string, number>();
  for (const { label } of places) uses.set(label, (uses.get(label) ?? 0) + 1);
  return new Map(places.map((unit) => [unit.id, uses.get(unit.label)! > 1 ? { ...unit, label: unit.id } : unit]));
}

function place(id: string): UnitPlace {
  const inBlock = /^(?:.*?\.)?(\d+)(?:\.(.+))?$/.exec(id);
  if (!inBlock) return { id, label: moduleName(id, OUTSIDE), block: undefined, module: undefined };
  const block = Number(inBlock[1]);
  if (inBlock[2] === undefined) return { id, label: `block ${block}`, block, module: undefined };
  const module = moduleName(inBlock[2], NORMS);
  return { id, label: `${block}.${module}`, block, module };
}

/** `self_attn.q_proj` → `q`; a parameter of it, `self_attn.q_proj.lora_A.weight` → `q.A`. */
function moduleName(path: string, names: Readonly<Record<string, string>>): string {
  const parts = path.split('.').filter((part) => part !== 'weight' && part !== 'default');
  const parameter = parts.length > 1 && /^(lora_.+|bias)$/.test(parts.at(-1)!) ? parts.pop()! : undefined;
  const last = parts.at(-1) ?? path;
  const name = (Object.hasOwn(names, last) ? names[last] : undefined) ?? last.replace(/_proj$/, '');
  return parameter ? `${name}.${parameter.replace(/^lora_/, '')}` : name;
}

const ORDER = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];

/** Columns of the block × module picture: attention first, then the MLP, then what else there is. */
export function moduleColumns(places: Iterable<UnitPlace>): string[] {
  const modules = new Set<string>();
  for (const { module } of places) if (module !== undefined) modules.add(module);
  const rank = (module: string): number => {
    const index = ORDER.indexOf(module.split('.')[0]!);
    return index < 0 ? ORDER.length : index;
  };
  return [...modules].sort((a, b) => rank(a) - rank(b));
}
