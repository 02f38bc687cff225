"""The papers that the catalogue cites, by their arXiv number, so that a run can be cited without looking them up."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper.

    Args:
        arxiv: Its number on arXiv.
        authors: Family names; three at most, then "others".
        year: Of its first version.
        title: Its title.
    """

    arxiv: str
    authors: str
    year: int
    title: str

    @property
    def line(self) -> str:
        """Title and where to find it."""
        return f"{self.title} (arxiv.org/abs/{self.arxiv})"

    def bibtex(self) -> str:
        """An entry for a bibliography."""
        key = re.sub(r"\W", "", self.authors.split(" and ")[0].lower()) + str(self.year) + self.arxiv[-3:]
        title = self.title.replace("&", "\\&")
        return (
            f"@misc{{{key},\n  title = {{{title}}},\n  author = {{{self.authors}}},\n  year = {{{self.year}}},\n"
            f"  eprint = {{{self.arxiv}}},\n  archivePrefix = {{arXiv}}\n}}"
        )


_ROWS = (
    ("2305.18290", "Rafailov and Sharma and others", 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward Model"),
    ("2311.12908", "Wallace and Dang and others", 2023, "Diffusion Model Alignment Using Direct Preference Optimization"),
    ("2403.00409", "Chowdhury and Kini and Natarajan", 2024, "Provably Robust DPO: Aligning Language Models with Noisy Feedback"),
    ("2310.12036", "Azar and Rowland and others", 2023, "A General Theoretical Paradigm to Understand Learning from Human Preferences"),
    ("2309.06657", "Liu and Zhao and others", 2023, "Statistical Rejection Sampling Improves Preference Optimization"),
    ("2305.10425", "Zhao and Joshi and others", 2023, "SLiC-HF: Sequence Likelihood Calibration with Human Feedback"),
    ("2405.14734", "Meng and Xia and Chen", 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward"),
    ("2405.16436", "Liu and Lu and others", 2024, "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer"),
    ("2403.07691", "Hong and Lee and Thorne", 2024, "ORPO: Monolithic Preference Optimization without Reference Model"),
    ("2402.01306", "Ethayarajh and Xu and others", 2024, "KTO: Model Alignment as Prospect Theoretic Optimization"),
    ("2404.04465", "Li and Kallidromitis and others", 2024, "Aligning Diffusion Models by Optimizing Human Utility"),
    ("2406.06424", "Hong and Paul and others", 2024, "Margin-aware Preference Optimization for Aligning Diffusion Models without Reference"),
    ("2006.11239", "Ho and Jain and Abbeel", 2020, "Denoising Diffusion Probabilistic Models"),
    ("2309.16240", "Wang and Jiang and others", 2023, "Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints"),
    ("2409.06411", "Liu and Zhang and others", 2024, "Length Desensitization in Direct Preference Optimization"),
    ("2405.19534", "Chen and Malladi and others", 2024, "Preference Learning Algorithms Do Not Learn Preference Rankings"),
    ("2406.07327", "Yan and Miao and others", 2024, "3D-Properties: Identifying Challenges in DPO and Charting a Path Forward"),
    ("2310.13639", "Hejna and Rafailov and others", 2023, "Contrastive Preference Learning: Learning from Human Feedback without RL"),
    ("2401.08417", "Xu and Sharaf and others", 2024, "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine Translation"),
    ("2409.10571", "Wang and Sun and others", 2024, "ASFT: Aligned Supervised Fine-Tuning through Absolute Likelihood"),
    ("2502.01237", "Gorbatovski and Shaposhnikov and others", 2025, "The Differences Between Direct Alignment Algorithms are a Blur"),
    ("2408.06266", "D'Oosterlinck and Xu and others", 2024, "Anchored Preference Optimization and Contrastive Revisions: Addressing Underspecification in Alignment"),
    ("2404.04656", "Jung and Han and others", 2024, "Binary Classifier Optimization for Large Language Model Alignment"),
    ("2402.05369", "Chen and He and others", 2024, "Noise Contrastive Alignment of Language Models with Explicit Rewards"),
    ("2402.00856", "Ji and Lu and others", 2024, "Towards Efficient Exact Optimization of Language Model Alignment"),
    ("2410.05102", "Christopoulou and Cardenas and others", 2024, "SparsePO: Controlling Preference Alignment of LLMs via Sparse Token Masks"),
    ("2404.11999", "Zeng and Liu and others", 2024, "Token-level Direct Preference Optimization"),
    ("2206.02231", "Knox and Hatgis-Kessell and others", 2022, "Models of Human Preference for Learning Reward Functions"),
    ("2405.00451", "Xie and Goyal and others", 2024, "Monte Carlo Tree Search Boosts Reasoning via Iterative Preference Learning"),
    ("2406.18629", "Lai and Tian and others", 2024, "Step-DPO: Step-wise Preference Optimization for Long-chain Reasoning of LLMs"),
    ("2410.12375", "Buehler", 2024, "PRefLexOR: Preference-based Recursive Language Modeling for Exploratory Optimization of Reasoning and Agentic Thinking"),
    ("2406.08414", "Lu and Holt and others", 2024, "Discovering Preference Optimization Algorithms with and for Large Language Models"),
    ("2406.05882", "Melnyk and Mroueh and others", 2024, "Distributional Preference Alignment of LLMs via Optimal Transport"),
    ("2405.00675", "Wu and Sun and others", 2024, "Self-Play Preference Optimization for Language Model Alignment"),
    ("2306.17492", "Song and Yu and others", 2023, "Preference Ranking Optimization for Human Alignment"),
    ("2410.12854", "Liao and Chu and Wang", 2024, "TPO: Aligning Large Language Models with Multi-branch & Multi-step Preference Trees"),
    ("2404.05868", "Zhang and Lin and others", 2024, "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning"),
    ("2507.00018", "Wang and Cheng and others", 2025, "Implicit Reward as the Bridge: A Unified View of SFT and DPO Connections"),
    ("2410.02197", "Zhang and Zhang and others", 2024, "Beyond Bradley-Terry Models: A General Preference Model for Language Model Alignment"),
    ("2404.03715", "Rosset and Cheng and others", 2024, "Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences"),
    ("2402.10571", "Amini and Vieira and Cotterell", 2024, "Direct Preference Optimization with an Offset"),
    ("2310.03708", "Zhou and Liu and others", 2023, "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization"),
    ("2407.00617", "Zhang and Yu and others", 2024, "Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret Learning"),
    ("2405.16681", "Saeidi and Verma and others", 2024, "Triple Preference Optimization: Achieving Better Alignment using a Single Step Optimization"),
    ("2405.19320", "Cen and Mei and others", 2024, "Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF"),
    ("2406.01660", "Choi and Ahmadian and others", 2024, "Self-Improving Robust Preference Optimization"),
    ("2407.14477", "Just and Jin and others", 2024, "Data-Centric Human Preference with Rationales for Direct Preference Alignment"),
    ("2505.12845", "Sun and Cai and others", 2025, "Multi-Level Aware Preference Learning: Enhancing RLHF for Complex Multi-Instruction Tasks"),
    ("2404.00530", "Bansal and Suvarna and others", 2024, "Comparing Bad Apples to Good Oranges: Aligning Large Language Models via Joint Preference Optimization"),
    ("2412.17696", "Richardson and Srikumar and Sabharwal", 2024, "Understanding the Logic of Direct Preference Alignment through Logic"),
    ("1711.11157", "Xu and Zhang and others", 2017, "A Semantic Loss Function for Deep Learning with Symbolic Knowledge"),
    ("2402.05749", "Tang and Guo and others", 2024, "Generalized Preference Optimization: A Unified Approach to Offline Alignment"),
    ("2409.17791", "Li and Huang and others", 2024, "Self-supervised Preference Optimization: Enhance Your Language Model with Preference Degree Awareness"),
)  # fmt: skip
PAPERS: dict[str, Paper] = {row[0]: Paper(*row) for row in _ROWS}
"""Every paper by its arXiv number."""


def papers_in(source: str) -> list[Paper]:
    """The papers whose numbers a source names, in its order; a number without a row here is left out."""
    return [PAPERS[number] for number in re.findall(r"\d{4}\.\d{5}", source) if number in PAPERS]
