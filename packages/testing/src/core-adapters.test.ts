import { full } from '@lft/core';
import { describeAdapter } from './describe-adapter.js';
import { sublayerAdapter } from './sublayer-adapter.js';

const unmatched = () => full({ targets: ['q_prj'] });

describeAdapter('full', full, { unmatched });
describeAdapter('full with a tied head', full, { model: { tied: true, bias: false } });
describeAdapter('full at chosen modules', () => full({ targets: ['lm_head', 'k_proj', 'input_layernorm'] }), {
  unmatched,
  model: { dtype: 'BF16' },
});
describeAdapter('the sublayer adapter', sublayerAdapter, { mergeable: false, random: true });
