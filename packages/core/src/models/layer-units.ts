import type { Attachment } from '../contracts/adapter.js';
import type { Granularity, LayerUnit, UnitId } from '../contracts/layer-unit.js';
import type { ModuleSite } from '../contracts/module-site.js';
import type { Parameter } from '../contracts/parameter.js';

interface Draft {
  readonly id: UnitId;
  readonly block: number | undefined;
  readonly role: LayerUnit['role'];
  readonly sites: ModuleSite[];
  readonly parameters: Parameter[];
}

/** `model.layers.3` of `model.layers.3.self_attn.q_proj`. */
function blockPath(site: ModuleSite): string {
  const parts = site.path.split('.');
  return parts.slice(0, parts.indexOf(String(site.block)) + 1).join('.');
}

function unitOf(site: ModuleSite, parameter: Parameter, granularity: Granularity): { id: UnitId; role: LayerUnit['role'] } {
  if (granularity === 'matrix') return { id: parameter.name, role: site.role };
  if (granularity === 'module' || site.block === undefined) return { id: site.path, role: site.role };
  return { id: blockPath(site), role: 'block' };
}

/**
 * Groups the trainable parameters, in forward order. A parameter that acts at two sites (a tied embedding) belongs to the first site's
 * unit, which then names both sites.
 */
export function layerUnits(attachments: readonly Attachment[], granularity: Granularity): LayerUnit[] {
  const drafts = new Map<UnitId, Draft>();
  const owner = new Map<Parameter, Draft>();
  for (const { site, delta } of attachments) {
    for (const parameter of delta.parameters) {
      let draft = owner.get(parameter);
      if (!draft) {
        const { id, role } = unitOf(site, parameter, granularity);
        draft = drafts.get(id) ?? { id, block: site.block, role, sites: [], parameters: [] };
        drafts.set(id, draft);
        owner.set(parameter, draft);
        draft.parameters.push(parameter);
      }
      if (!draft.sites.includes(site)) draft.sites.push(site);
    }
  }
  return [...drafts.values()].map((draft) => ({
    ...draft,
    size: draft.parameters.reduce((sum, parameter) => sum + parameter.size, 0),
  }));
}
