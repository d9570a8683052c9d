"""A search for hyper-parameters: a study of many runs, its trials shared among workers.

It may import everything but the other packages of lab.
"""
