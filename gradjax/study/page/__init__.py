"""The page: one self-contained ``index.html`` made from the records and figures in a folder, and from nothing else."""

from gradjax.study.page.build import build_page as build_page
