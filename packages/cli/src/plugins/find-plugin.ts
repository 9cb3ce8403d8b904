import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type AdapterPlugin, fixedSelector, fullAdapter, LftError, nearestName, type SelectorPlugin } from '@lft/core';
import { resolvePackage } from './resolve-package.js';

export interface Plugins {
  readonly adapter: AdapterPlugin;
  readonly selector: SelectorPlugin;
}
export type PluginKind = keyof Plugins;

export interface FoundPlugin<Kind extends PluginKind> {
  readonly plugin: Plugins[Kind];
  /** Package, path, or `built in`. */
  readonly from: string;
}

/** Part of the core: found without a package. */
const BUILT_IN: { readonly [Kind in PluginKind]: Readonly<Record<string, Plugins[Kind]>> } = {
  adapter: { full: fullAdapter },
  selector: { fixed: fixedSelector },
};

/** Packages that are installed with the command. */
const BUNDLED: { readonly [Kind in PluginKind]: Readonly<Record<string, () => Promise<object>>> } = {
  adapter: { lora: () => import('@lft/lora') },
  selector: {
    ist: () => import('@lft/ist'),
    lisa: () => import('@lft/lisa'),
    ila: () => import('@lft/ila'),
  },
};

/** Plugins that are there without installing anything. */
export function knownPlugins(kind: PluginKind): string[] {
  return [...Object.keys(BUILT_IN[kind]), ...Object.keys(BUNDLED[kind])];
}

/**
 * Finds a plugin by name: built in, then `@lft/NAME`, `lft-KIND-NAME` and NAME itself as a package or a path, as they are installed in the
 * working directory; then the packages that came with the command.
 * @throws LftError plugin-not-found, plugin-invalid
 */
export async function findPlugin<Kind extends PluginKind>(kind: Kind, name: string): Promise<FoundPlugin<Kind>> {
  const builtIn = Object.hasOwn(BUILT_IN[kind], name) ? BUILT_IN[kind][name] : undefined;
  if (builtIn) return { plugin: builtIn, from: 'built in' };

  const isPath = /^\.{0,2}[/\\]|^[a-z]:[/\\]|\.[cm]?js$/i.test(name);
  const tried = isPath ? [name] : [`@lft/${name}`, `lft-${kind}-${name}`, name];
  for (const candidate of tried) {
    const file = isPath
      ? existingFile(name)
      : isPackageName(candidate)
        ? resolvePackage(candidate, process.cwd())
        : undefined;
    if (file) return { plugin: check(kind, candidate, await load(candidate, file)), from: candidate };
  }
  const bundled = Object.hasOwn(BUNDLED[kind], name) ? BUNDLED[kind][name] : undefined;
  if (bundled) return { plugin: check(kind, `@lft/${name}`, await bundled()), from: `@lft/${name}` };
  const here = path.dirname(fileURLToPath(import.meta.url));
  for (const candidate of isPath ? [] : tried.filter(isPackageName)) {
    const file = resolvePackage(candidate, here);
    if (file) return { plugin: check(kind, candidate, await load(candidate, file)), from: candidate };
  }
  throw notFound(kind, name, tried, isPath);
}

function notFound(kind: PluginKind, name: string, tried: readonly string[], isPath: boolean): LftError {
  const near = nearestName(name, knownPlugins(kind));
  const remedy = isPath
    ? 'Give the path of a .js file that is there, from the working directory.'
    : `Install its package in this folder, e.g. npm i lft-${kind}-${path.basename(name)}, or give the path of a .js file.`;
  return new LftError(
    'plugin-not-found',
    `${kind} "${name}" was not found${near ? `; did you mean "${near}"?` : '.'} Tried: ${tried.join(', ')}. There is: ${knownPlugins(kind).join(', ')}. ${remedy}`,
    { kind, name, tried },
  );
}

function isPackageName(name: string): boolean {
  return /^(@[\w.-]+\/)?[\w-][\w.-]*(\/[\w./-]+)?$/.test(name);
}

function existingFile(name: string): string | undefined {
  const file = path.resolve(name);
  if (!existsSync(file)) return undefined;
  return statSync(file).isDirectory()
    ? ['index.js', 'index.mjs'].map((entry) => path.join(file, entry)).find(existsSync)
    : file;
}

async function load(name: string, file: string): Promise<object> {
  try {
    return (await import(pathToFileURL(file).href)) as object;
  } catch (cause) {
    throw new LftError(
      'plugin-invalid',
      `${name} was found (${file}) and cannot be loaded: ${(cause as Error).message}`,
      { name, file },
      { cause },
    );
  }
}

function check<Kind extends PluginKind>(kind: Kind, name: string, module: object): Plugins[Kind] {
  // A CommonJS package may show its exports under `default` only.
  const exports = { ...(module as { default?: object }).default, ...module } as Record<string, unknown>;
  const plugin = exports[kind] as Partial<SelectorPlugin> | undefined;
  const article = kind === 'adapter' ? 'an adapter' : 'a selector';
  const asks = `export a constant \`${kind}\` with name, summary, options (a zod object) and create(options)`;
  if (plugin === undefined) {
    const other = kind === 'adapter' ? 'selector' : 'adapter';
    throw new LftError(
      'plugin-invalid',
      `${name} is not ${article}: it exports no \`${kind}\`${other in exports ? `; it is for --${other}` : `. A plugin has to ${asks}`}`,
      { kind, name, exports: Object.keys(exports) },
    );
  }
  const whole =
    typeof plugin === 'object' &&
    plugin !== null &&
    typeof plugin.name === 'string' &&
    typeof plugin.create === 'function' &&
    typeof plugin.options?.safeParse === 'function';
  if (!whole) {
    throw new LftError('plugin-invalid', `${name}: its \`${kind}\` is not ${article} plugin; it has to ${asks}`, {
      kind,
      name,
    });
  }
  return plugin as Plugins[Kind];
}
