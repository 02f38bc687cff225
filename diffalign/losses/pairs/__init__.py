"""Losses on pairs: two candidates of which one is preferred. Their rows are in :data:`PAIRS`."""

from diffalign.losses.loss import Loss
from diffalign.losses.pairs.aot import AOT, AOT_UNPAIRED
from diffalign.losses.pairs.apo import APO_DOWN, APO_ZERO
from diffalign.losses.pairs.asft import ASFT
from diffalign.losses.pairs.bco_pair_and_nca import BCO_PAIR, NCA
from diffalign.losses.pairs.content_degree_prediction import CONTENT_DEGREE
from diffalign.losses.pairs.cpl import CPL, CPL_KL
from diffalign.losses.pairs.cpo import CPO
from diffalign.losses.pairs.discopop import DISCOPOP
from diffalign.losses.pairs.dno import DNO
from diffalign.losses.pairs.dove import DOVE
from diffalign.losses.pairs.dpo_gamma_and_flex_dpo import DPO_GAMMA, FLEX_DPO
from diffalign.losses.pairs.exo import EXO
from diffalign.losses.pairs.gpo_general_preference import GPO
from diffalign.losses.pairs.hinge import HINGE
from diffalign.losses.pairs.inpo import INPO
from diffalign.losses.pairs.ipo import IPO
from diffalign.losses.pairs.logic_loss import STRUCTURE, STRUCTURE_REFERENCE
from diffalign.losses.pairs.logistic import LOGISTIC, ROBUST
from diffalign.losses.pairs.mapo import MAPO
from diffalign.losses.pairs.modpo import MODPO
from diffalign.losses.pairs.odpo import ODPO
from diffalign.losses.pairs.online_kl import ONLINE_KL
from diffalign.losses.pairs.orpo import ORPO
from diffalign.losses.pairs.prompt_margin_contrast import MARGIN_CONTRAST
from diffalign.losses.pairs.rationale import RATIONALE
from diffalign.losses.pairs.rebel import REBEL
from diffalign.losses.pairs.rpo import RPO
from diffalign.losses.pairs.simpo import SIMPO
from diffalign.losses.pairs.sppo import SPPO
from diffalign.losses.pairs.sppo_hard import SPPO_HARD
from diffalign.losses.pairs.srpo import SRPO
from diffalign.losses.pairs.tpo import TPO, TPO_L
from diffalign.losses.pairs.vpo import VPO

PAIRS: tuple[Loss, ...] = (
    LOGISTIC,
    ROBUST,
    IPO,
    HINGE,
    SIMPO,
    RPO,
    ORPO,
    MAPO,
    DPO_GAMMA,
    FLEX_DPO,
    CPL,
    CPL_KL,
    CPO,
    ASFT,
    EXO,
    DISCOPOP,
    APO_ZERO,
    APO_DOWN,
    BCO_PAIR,
    NCA,
    SPPO_HARD,
    AOT,
    AOT_UNPAIRED,
    ODPO,
    MODPO,
    DNO,
    GPO,
    SPPO,
    REBEL,
    INPO,
    TPO,
    TPO_L,
    VPO,
    ONLINE_KL,
    SRPO,
    DOVE,
    MARGIN_CONTRAST,
    RATIONALE,
    CONTENT_DEGREE,
    STRUCTURE,
    STRUCTURE_REFERENCE,
)
"""The rows of this folder, in the order of listings."""
