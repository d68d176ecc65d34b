"""Singular values of a wide network's Jacobian, by free probability: moments, edge, atoms, density, exponents.

J = D_L W_L ... D_1 W_1 with W Gaussian or orthogonal and D diagonal with the slopes phi'(h), all free of each other in
the limit of great width (Pennington, Schoenholz, Ganguli 2017, arXiv:1711.04735). Spectra are scaled to chi_1 = 1.
"""

from gradjax.theory.isometry.fuss_catalan import fuss_catalan_density as fuss_catalan_density
from gradjax.theory.isometry.fuss_catalan import fuss_catalan_moment as fuss_catalan_moment
from gradjax.theory.isometry.limits import isometric_point as isometric_point
from gradjax.theory.isometry.limits import limit_largest_squared_singular_value as limit_largest_squared_singular_value
from gradjax.theory.isometry.limits import limit_squared_singular_value_density as limit_squared_singular_value_density
from gradjax.theory.isometry.limits import universality_class as universality_class
from gradjax.theory.isometry.lyapunov import lyapunov_spectrum as lyapunov_spectrum
from gradjax.theory.isometry.moments import squared_singular_value_moments as squared_singular_value_moments
from gradjax.theory.isometry.moments import squared_singular_value_variance as squared_singular_value_variance
from gradjax.theory.isometry.spectrum import Density as Density
from gradjax.theory.isometry.spectrum import largest_squared_singular_value as largest_squared_singular_value
from gradjax.theory.isometry.spectrum import linear_gaussian_edge as linear_gaussian_edge
from gradjax.theory.isometry.spectrum import squared_singular_value_density as squared_singular_value_density
